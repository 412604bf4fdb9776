"""What ``images/guest/build.sh`` has built: the Linux that runs in a scenario's guest."""

from pathlib import Path

import msgspec

from harness.errors import PrerequisiteMissing

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "guest"
BUILD = "make guest"


class GuestImage(msgspec.Struct, frozen=True):
    """Paths are absolute."""

    kernel: Path
    initrd: Path

    def options(self, memory_kib: int) -> list[str]:
        """QEMU options that boot it, with its console at the first serial port.

        :param memory_kib: memory that the guest is to dirty
        """
        return [
            *("-kernel", str(self.kernel)),
            *("-initrd", str(self.initrd)),
            # quiet: the serial port is slow, and only our guest has anything to say.
            *("-append", f"console=ttyS0 quiet memory_kib={memory_kib}"),
        ]


def find(folder: Path = CACHE) -> GuestImage:
    """The image in ``folder``.

    :raise PrerequisiteMissing: there is none, or it is not whole
    """
    image = GuestImage(folder.absolute() / "vmlinuz", folder.absolute() / "initrd")
    if not (folder / "manifest.json").is_file():
        raise PrerequisiteMissing(f"the guest is not built: {BUILD}")
    for part in (image.kernel, image.initrd):
        if not part.is_file():
            raise PrerequisiteMissing(
                f"{part}: the guest is not whole: remove {folder.absolute()}, {BUILD}"
            )
    return image
