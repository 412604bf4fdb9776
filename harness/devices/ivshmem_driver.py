"""The rig's variant driver for ivshmem-plain, as it is seen in debugfs.

``images/rig/modules/ivshmem_vfio_pci`` has a directory for each function that it has:
parameters, counters, a log of the calls, and BAR 2 itself.
"""

from pathlib import Path

from harness.errors import HarnessError
from harness.history.device import Arc, Read, Reset, Write
from harness.history.records import Body
from harness.vfio.uapi import DeviceState

DEBUGFS = Path("/sys/kernel/debug/ivshmem_vfio_pci")
NONE = (1 << 64) - 1
"""Of a parameter that is a place: there is none."""


class Driver:
    """What the driver has in debugfs of the function at ``address``."""

    def __init__(self, address: str, debugfs: Path = DEBUGFS) -> None:
        self.folder = debugfs / address

    def set(self, name: str, value: int) -> None:
        """Set a parameter."""
        (self.folder / name).write_text(str(value))

    def get(self, name: str) -> int:
        """A parameter or a counter."""
        return int((self.folder / name).read_text())

    @property
    def size(self) -> int:
        """Bytes of BAR 2."""
        return (self.folder / "state").stat().st_size

    def write(self, offset: int, data: bytes) -> None:
        """Write to BAR 2."""
        with (self.folder / "state").open("r+b", buffering=0) as bar:
            bar.seek(offset)
            bar.write(data)

    def read(self, offset: int, length: int) -> bytes:
        """BAR 2 as it is."""
        with (self.folder / "state").open("rb", buffering=0) as bar:
            bar.seek(offset)
            return bar.read(length)

    def events(self) -> list[tuple[int, Body]]:
        """The calls since the function was opened, with their times; none if not all are there."""
        if self.get("events_lost"):
            return []
        return [event_of(line) for line in (self.folder / "events").read_text().splitlines()]


def event_of(line: str) -> tuple[int, Body]:
    """One line of the driver's log of calls: the time, and what it was."""
    t_ns, name, *rest = line.split()
    offset, asked, got, errno = (int(word, 0) for word in rest)
    match name:
        case "arc":
            path = [DeviceState(int(digit, 16)).name for digit in f"{asked:x}"] if asked else []
            return int(t_ns), Arc(state=DeviceState(offset).name, path=path, errno=errno)
        case "read":
            return int(t_ns), Read(offset=offset, asked=asked, got=got, errno=errno)
        case "write":
            return int(t_ns), Write(offset=offset, asked=asked, got=got, errno=errno)
        case "reset":
            return int(t_ns), Reset()
    raise HarnessError(f"the driver's log has an unknown event: {line!r}")
