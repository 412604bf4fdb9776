"""The guests that ``images/guest/build.sh`` builds: a Linux, and a firmware that does the same
and boots at once.
"""

import struct
from pathlib import Path

import msgspec

from harness.errors import PrerequisiteMissing

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "guest"
BUILD = "make guest"
FIRMWARE_SIZE = 1 << 16
_MEMORY_KIB_AT = 0xFFEC  # memory_kib in images/guest/firmware.S


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
            # quiet: the serial port is slow, and only lines of our guest are of use.
            # no_timer_check: on a busy machine the timer comes too late for Linux, which panics.
            *("-append", f"console=ttyS0 quiet no_timer_check memory_kib={memory_kib}"),
        ]


def find(folder: Path = CACHE) -> GuestImage:
    """The image in ``folder``.

    :raise PrerequisiteMissing: it is missing or incomplete
    """
    image = GuestImage(folder.absolute() / "vmlinuz", folder.absolute() / "initrd")
    _require(folder, image.kernel, image.initrd)
    return image


def firmware(memory_kib: int, folder: Path = CACHE) -> bytes:
    """The image of the firmware, for ``-bios``: ``FIRMWARE_SIZE`` bytes.

    :param memory_kib: memory that the guest is to dirty, from 1 MiB on
    :raise PrerequisiteMissing: it is missing or incomplete
    """
    path = folder.absolute() / "firmware.bin"
    _require(folder, path)
    image = bytearray(path.read_bytes())
    if len(image) != FIRMWARE_SIZE:
        raise _incomplete(path)
    struct.pack_into("<I", image, _MEMORY_KIB_AT, memory_kib)
    return bytes(image)


def _require(folder: Path, *parts: Path) -> None:
    if not (folder / "manifest.json").is_file():
        raise PrerequisiteMissing(f"the guest is not built: {BUILD}")
    for part in parts:
        if not part.is_file():
            raise _incomplete(part)


def _incomplete(part: Path) -> PrerequisiteMissing:
    return PrerequisiteMissing(f"{part}: the guest is incomplete: remove {part.parent}, {BUILD}")
