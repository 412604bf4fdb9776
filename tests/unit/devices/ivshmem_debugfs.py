"""A debugfs as the driver ``ivshmem_vfio_pci`` of the rig has it."""

from pathlib import Path

NONE = (1 << 64) - 1


class FakeDriver:
    """The directories of functions, with ``size`` bytes of BAR 2 each."""

    def __init__(self, root: Path, *addresses: str, size: int) -> None:
        self.root = root / "debugfs"
        for address in addresses:
            folder = self.root / address
            folder.mkdir(parents=True)
            for name in ("read_bytes", "written_bytes", "events_lost"):
                (folder / name).write_text("0\n")
            (folder / "events").write_text("")
            (folder / "state").write_bytes(b"\xff" * size)

    def get(self, address: str, name: str) -> int:
        return int((self.root / address / name).read_text())

    def set(self, address: str, name: str, value: int | str) -> None:
        (self.root / address / name).write_text(f"{value}\n")

    def bar(self, address: str) -> bytes:
        return (self.root / address / "state").read_bytes()

    def write(self, address: str, contents: bytes) -> None:
        (self.root / address / "state").write_bytes(contents)
