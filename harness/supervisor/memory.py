"""Memory that the supervisor accesses: QEMU's, and the memfds that QEMU maps."""

import contextlib
import errno
import os
from collections.abc import Iterator

from harness.vfio.uapi import REGION_SHIFT, Region


def _fault() -> OSError:
    return OSError(errno.EFAULT, os.strerror(errno.EFAULT))


@contextlib.contextmanager
def _as_fault() -> Iterator[None]:
    """Raise EFAULT for the EIO of ``/proc/PID/mem``, and for an address that is no file offset."""
    try:
        yield
    except OverflowError as error:
        raise _fault() from error
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        raise _fault() from error


class ProcessMemory:
    """Memory of the process of one thread, through ``/proc/PID/mem``."""

    def __init__(self) -> None:
        self._fd = -1

    def attach(self, pid: int) -> None:
        """Access the process of thread ``pid`` from now on.

        The file is opened again for each call: an open file keeps its address space, even when
        the process gets a new one (exec).
        """
        self.close()
        self._fd = os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC)

    def read(self, address: int, length: int) -> bytes:
        """``length`` bytes at ``address``; OSError EFAULT if they are not mapped."""
        with _as_fault():
            data = os.pread(self._fd, length, address)
        if len(data) != length:
            raise _fault()
        return data

    def write(self, address: int, data: bytes) -> None:
        """Write ``data`` at ``address``; OSError EFAULT if it is not mapped."""
        view = memoryview(data)
        while view:
            with _as_fault():
                written = os.pwrite(self._fd, view, address)
            if not written:
                raise _fault()
            view, address = view[written:], address + written

    def close(self) -> None:
        """Close the process's memory."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


class Memfd:
    """An anonymous file, for a device's regions or its state."""

    def __init__(self, name: str, size: int = 0) -> None:
        self.fd = os.memfd_create(name)
        os.ftruncate(self.fd, size)

    @classmethod
    def for_regions(cls, name: str) -> "Memfd":
        """A sparse file with region i at ``i << 40``, used as a device fd."""
        return cls(name, (Region.VGA + 1) << REGION_SHIFT)

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset``."""
        return os.pread(self.fd, length, offset)

    def write(self, offset: int, data: bytes) -> None:
        """Write ``data`` at ``offset``."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self.fd, view, offset)
            view, offset = view[written:], offset + written

    def size(self) -> int:
        """Its size in bytes."""
        return os.fstat(self.fd).st_size

    def truncate(self, size: int) -> None:
        """Truncate it to ``size`` bytes."""
        os.ftruncate(self.fd, size)

    def close(self) -> None:
        """Close it; QEMU's own descriptor stays open."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
