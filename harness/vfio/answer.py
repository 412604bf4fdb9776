"""What the device answers, as plain data that the supervisor carries out."""

import errno as _errno
from dataclasses import dataclass
from typing import Protocol


class TargetMemory(Protocol):
    """Memory of the process that made the call."""

    def read(self, address: int, length: int) -> bytes:
        """``length`` bytes at ``address``.

        :raise OSError: EFAULT, not mapped
        """


class RegionMemory(Protocol):
    """Contents of one device's regions, at ``index << 40`` as in the device fd."""

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``."""

    def write(self, offset: int, data: bytes) -> None:
        """Put ``data`` at ``offset``."""


@dataclass(frozen=True, slots=True)
class InstallDataFd:
    """A data_fd is to be installed in the target and its number written to ``address``."""

    is_saving: bool
    address: int
    is_extra: bool = False
    """Whether it belongs to no transfer: the device gives it by mistake."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one call: an errno (0 for success) and what to write to the target first."""

    errno: int = 0
    writes: tuple[tuple[int, bytes], ...] = ()
    install: InstallDataFd | None = None
    drops_data_fd: bool = False
    """Whether the device has left the state that its data_fd belonged to."""
    signals: tuple[int, ...] = ()
    """Eventfds that are signalled, by their numbers in the target."""


DONE = Answer()


def refuse(errno: int) -> Answer:
    """The call fails with ``errno``."""
    return Answer(errno=errno)


UNKNOWN = refuse(_errno.ENOTTY)  # the kernel's answer to an ioctl or feature that it lacks
