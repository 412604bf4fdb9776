"""Paths of sysfs and of device files, and how sysfs is written."""

from collections.abc import Callable
from pathlib import Path

SYSFS = Path("/sys")
DEV = Path("/dev")


class Sysfs:
    """A bus of the machine; a subclass knows its files.

    :param sysfs: the mount point of sysfs
    :param dev: the directory of the device files
    :param write: writes a file of sysfs; its OSErrors are the kernel's errors
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
