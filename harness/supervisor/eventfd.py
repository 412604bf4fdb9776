"""Signals an eventfd of another process, as a driver in the kernel does for an interrupt."""

import ctypes
import os
from typing import Final

_PIDFD_GETFD: Final = 438
"""The number of pidfd_getfd(2), the same on all architectures (Linux 5.6)."""


def signal(pid: int, number: int) -> None:
    """Signal the eventfd that is ``number`` in the process ``pid``.

    :raise OSError: there is no such process or descriptor
    """
    pidfd = os.pidfd_open(pid)
    try:
        fd = get(pidfd, number)
    finally:
        os.close(pidfd)
    try:
        os.eventfd_write(fd, 1)
    finally:
        os.close(fd)


def get(pidfd: int, number: int) -> int:
    """Our descriptor of what is ``number`` in the process of ``pidfd``.

    :raise OSError: there is no such descriptor
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    fd: int = libc.syscall(
        ctypes.c_long(_PIDFD_GETFD), ctypes.c_int(pidfd), ctypes.c_int(number), ctypes.c_uint(0)
    )
    if fd < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return fd
