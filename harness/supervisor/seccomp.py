"""Seccomp user notification by system calls.

Numbers and layouts are those of ``include/uapi/linux/seccomp.h``, ``filter.h`` and ``audit.h`` of
Linux.  libseccomp's Python binding is a distribution package that cannot be installed in a
virtual environment, and the filter is a dozen instructions.
"""

import ctypes
import errno
import fcntl
import os
import platform
import struct
from dataclasses import dataclass
from typing import Final

from harness.errors import NotifError, PrerequisiteMissing
from harness.vfio.uapi import IOCTL_TYPE, IOCTL_TYPE_SHIFT


@dataclass(frozen=True, slots=True)
class _Machine:
    audit_arch: int
    seccomp: int
    ioctl: int
    read: int
    write: int
    sendmsg: int


_MACHINES: Final = {
    "x86_64": _Machine(0xC000003E, 317, 16, 0, 1, 46),
    "aarch64": _Machine(0xC00000B7, 277, 29, 63, 64, 211),
}

_SET_MODE_FILTER: Final = 1
_FLAG_NEW_LISTENER: Final = 1 << 3
_FLAG_WAIT_KILLABLE_RECV: Final = 1 << 5  # Linux 5.19
_PR_SET_NO_NEW_PRIVS: Final = 38

_CONTINUE: Final = 1 << 0  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
_RET_ALLOW: Final = 0x7FFF0000
_RET_USER_NOTIF: Final = 0x7FC00000
_LD_ABS, _JEQ, _JGE, _AND, _RET = 0x20, 0x15, 0x35, 0x54, 0x06
# Offsets in seccomp_data.
_DATA_NR, _DATA_ARCH, _DATA_ARG0, _DATA_ARG1, _DATA_ARG2 = 0, 4, 16, 24, 32
_MSG_ZEROCOPY: Final = 0x4000000  # include/linux/socket.h

_NOTIF: Final = struct.Struct("<QII" + "iIQ6Q")  # seccomp_notif with its seccomp_data
_RESP: Final = struct.Struct("<QqiI")
_ADDFD: Final = struct.Struct("<Q4I")
_ADDFD_FLAG_SETFD: Final = 1
if (_NOTIF.size, _RESP.size, _ADDFD.size) != (80, 24, 24):
    raise AssertionError("a layout differs from seccomp.h")


def _iowr(number: int, size: int) -> int:
    return 3 << 30 | size << 16 | ord("!") << 8 | number


_NOTIF_RECV: Final = _iowr(0, _NOTIF.size)
_NOTIF_SEND: Final = _iowr(1, _RESP.size)
_NOTIF_ID_VALID: Final = 1 << 30 | 8 << 16 | ord("!") << 8 | 2
_NOTIF_ADDFD: Final = 1 << 30 | _ADDFD.size << 16 | ord("!") << 8 | 3

DATA_FD_BASE: Final = 900
"""First number of the data_fds whose ``read`` and ``write`` are supervised."""
DATA_FD_END: Final = 964


@dataclass(frozen=True, slots=True)
class Notification:
    """One trapped system call.

    :ivar cookie: the notification's id
    :ivar pid: the calling thread
    :ivar call: ``ioctl``, ``read``, ``write`` or ``sendmsg``
    """

    cookie: int
    pid: int
    call: str
    args: tuple[int, ...]


def machine() -> _Machine:
    """Numbers of this architecture.

    :raise PrerequisiteMissing: the filter does not support it
    """
    found = _MACHINES.get(platform.machine())
    if found is None:
        raise PrerequisiteMissing(
            f"machine {platform.machine()}: the emulated device needs x86_64 or aarch64"
        )
    return found


def filter_program(on: _Machine, has_zero_copy: bool = False) -> bytes:
    """The BPF program: user notification for VFIO's ioctls and supervised data_fds.

    A jump has the number of instructions to skip if the test is true, and if it is false.

    :param has_zero_copy: also for ``sendmsg`` with ``MSG_ZEROCOPY``
    """
    zero_copy = (
        (_JEQ, 0, 3, on.sendmsg),
        (_LD_ABS, 0, 0, _DATA_ARG2),
        (_AND, 0, 0, _MSG_ZEROCOPY),
        (_JEQ, 10, 9, _MSG_ZEROCOPY),
    )
    more = zero_copy if has_zero_copy else ()
    instructions = (
        (_LD_ABS, 0, 0, _DATA_ARCH),
        (_JEQ, 0, 10 + len(more), on.audit_arch),  # another ABI: allowed, QEMU has none
        (_LD_ABS, 0, 0, _DATA_NR),
        *more,
        (_JEQ, 0, 3, on.ioctl),
        (_LD_ABS, 0, 0, _DATA_ARG1),
        (_AND, 0, 0, 0xFF << IOCTL_TYPE_SHIFT),
        (_JEQ, 6, 5, IOCTL_TYPE << IOCTL_TYPE_SHIFT),
        (_JEQ, 1, 0, on.read),
        (_JEQ, 0, 3, on.write),
        (_LD_ABS, 0, 0, _DATA_ARG0),
        (_JGE, 0, 1, DATA_FD_BASE),
        (_JGE, 0, 1, DATA_FD_END),
        (_RET, 0, 0, _RET_ALLOW),
        (_RET, 0, 0, _RET_USER_NOTIF),
    )
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in instructions)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install_filter(has_zero_copy: bool = False) -> int:
    """Install the filter on the calling thread and its children; returns the listener's fd.

    It cannot be removed, so the thread must be one that ends with the QEMU.

    :param has_zero_copy: as of ``filter_program``
    :raise PrerequisiteMissing: this kernel or container does not allow it
    """
    on = machine()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    program = filter_program(on, has_zero_copy)
    descriptor = _Program(len(program) // 8, program)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise NotifError(f"prctl(PR_SET_NO_NEW_PRIVS): {os.strerror(ctypes.get_errno())}")
    for flags in (_FLAG_NEW_LISTENER | _FLAG_WAIT_KILLABLE_RECV, _FLAG_NEW_LISTENER):
        listener: int = libc.syscall(
            ctypes.c_long(on.seccomp),
            ctypes.c_ulong(_SET_MODE_FILTER),
            ctypes.c_ulong(flags),
            ctypes.byref(descriptor),
        )
        if listener >= 0:
            return listener
    reason = os.strerror(ctypes.get_errno())
    raise PrerequisiteMissing(
        f"seccomp user notification is refused here ({reason}): the emulated device needs "
        "Linux 5.9 or newer and a container that allows seccomp(SECCOMP_SET_MODE_FILTER)"
    )


def receive(listener: int) -> Notification | None:
    """The next trapped call; None if it was interrupted before it was received."""
    buffer = bytearray(_NOTIF.size)
    try:
        fcntl.ioctl(listener, _NOTIF_RECV, buffer)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):
            return None
        raise
    cookie, pid, _, number, _, _, *args = _NOTIF.unpack(buffer)
    on = machine()
    calls = {on.ioctl: "ioctl", on.read: "read", on.write: "write", on.sendmsg: "sendmsg"}
    call = calls[number]
    return Notification(cookie, pid, call, tuple(args))


def is_valid(listener: int, cookie: int) -> bool:
    """Whether the caller still waits, so that the memory that was read was its own."""
    try:
        fcntl.ioctl(listener, _NOTIF_ID_VALID, struct.pack("<Q", cookie))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def add_fd(listener: int, cookie: int, fd: int, number: int | None) -> int:
    """Install ``fd`` in the target, close-on-exec, as ``number`` or the next free one."""
    flags = _ADDFD_FLAG_SETFD if number is not None else 0
    # A mutable buffer makes fcntl.ioctl return the call's own value: the new number.
    request = bytearray(_ADDFD.pack(cookie, flags, fd, number or 0, os.O_CLOEXEC))
    added: int = fcntl.ioctl(listener, _NOTIF_ADDFD, request)
    return added


def pass_on(listener: int, cookie: int) -> bool:
    """Let the kernel execute the call (Linux 5.5); False if the caller is gone."""
    return _respond(listener, _RESP.pack(cookie, 0, 0, _CONTINUE))


def send(listener: int, cookie: int, value: int, error: int) -> bool:
    """End the call with ``value`` or errno ``error``; False if the caller is gone."""
    return _respond(listener, _RESP.pack(cookie, value, -error, 0))


def _respond(listener: int, response: bytes) -> bool:
    try:
        fcntl.ioctl(listener, _NOTIF_SEND, response)
    except OSError as failure:
        if failure.errno in (errno.ENOENT, errno.EINPROGRESS):
            return False
        raise
    return True
