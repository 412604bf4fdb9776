"""Memory that the supervisor works on: the target's, and the memfds that QEMU maps."""

import contextlib
import errno
import os
from collections.abc import Iterator

from harness.vfio.uapi import REGION_SHIFT, Region


def _fault() -> OSError:
    return OSError(errno.EFAULT, os.strerror(errno.EFAULT))


@contextlib.contextmanager
def _as_fault() -> Iterator[None]:
    """Say EFAULT where ``/proc/PID/mem`` says EIO, and of an address that no file can have."""
    try:
        yield
    except OverflowError as error:
        raise _fault() from error
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        raise _fault() from error


class ProcessMemory:
    """Memory of one thread's process, through ``/proc/PID/mem``."""

    def __init__(self) -> None:
        self._fd = -1

    def attach(self, pid: int) -> None:
        """Work on the process of thread ``pid`` from here on.

        Opened anew at each call: an open file stays with the address space that it was
        opened for, also when the process has a new one (exec).
        """
        self.close()
        self._fd = os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC)

    def read(self, address: int, length: int) -> bytes:
        """``length`` bytes at ``address``; OSError EFAULT where nothing is mapped."""
        with _as_fault():
            data = os.pread(self._fd, length, address)
        if len(data) != length:
            raise _fault()
        return data

    def write(self, address: int, data: bytes) -> None:
        """Put ``data`` at ``address``; OSError EFAULT where nothing is mapped."""
        view = memoryview(data)
        while view:
            with _as_fault():
                written = os.pwrite(self._fd, view, address)
            if not written:
                raise _fault()
            view, address = view[written:], address + written

    def close(self) -> None:
        """Let go of the process."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


class Memfd:
    """An anonymous file of our own; regions and memfd states are kept in these."""

    def __init__(self, name: str, size: int = 0) -> None:
        self.fd = os.memfd_create(name)
        os.ftruncate(self.fd, size)

    @classmethod
    def for_regions(cls, name: str) -> "Memfd":
        """A sparse one in which region i lies at ``i << 40``, used as a device fd."""
        return cls(name, (Region.VGA + 1) << REGION_SHIFT)

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset``."""
        return os.pread(self.fd, length, offset)

    def write(self, offset: int, data: bytes) -> None:
        """Put ``data`` at ``offset``."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self.fd, view, offset)
            view, offset = view[written:], offset + written

    def size(self) -> int:
        """Bytes in it."""
        return os.fstat(self.fd).st_size

    def truncate(self, size: int) -> None:
        """Cut it off after ``size`` bytes."""
        os.ftruncate(self.fd, size)

    def close(self) -> None:
        """Give it up; QEMU's own descriptor of it lives on."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
