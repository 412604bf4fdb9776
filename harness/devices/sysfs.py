"""Where the kernel shows its devices, and how it is told what to do with them."""

from collections.abc import Callable
from pathlib import Path

SYSFS = Path("/sys")
DEV = Path("/dev")


class Sysfs:
    """A bus of the machine: a subclass knows its files.

    :param sysfs: where sysfs is mounted
    :param dev: where the device files are
    :param write: writes a file of sysfs; its OSErrors are the kernel's answers
    """

    def __init__(
        self,
        sysfs: Path = SYSFS,
        dev: Path = DEV,
        write: Callable[[Path, str], object] = Path.write_text,
    ) -> None:
        self.sysfs = sysfs
        self.dev = dev
        self._write = write
