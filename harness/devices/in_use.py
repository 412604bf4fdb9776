"""Whether a device is in use: by this machine itself, or by a process that has its file open."""

import contextlib
import os
import select
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

PROC = Path("/proc")
_IFF_UP = 1  # include/uapi/linux/if.h
_LOOKS = 5


def use_of(device: Path, proc: Path = PROC) -> str:
    """What this machine itself uses the device at ``device`` of sysfs for; empty if nothing.

    Found are a network interface that is up, and a disk that is mounted, used as swap, or part of
    another device. Where udev renames an interface meanwhile, that is looked at again.
    """
    for _ in range(_LOOKS):
        with contextlib.suppress(OSError):
            return _use_seen(device, proc)
    return "its network interfaces or disks change while they are looked at: try again"


def _use_seen(device: Path, proc: Path) -> str:
    """What ``use_of`` returns, looked at once.

    :raise OSError: something was renamed or removed meanwhile
    """
    for interface in sorted(device.glob("**/net/*")):
        if int((interface / "flags").read_text(), 16) & _IFF_UP:
            return f"network interface {interface.name} is up: ip link set {interface.name} down"
    mounted = dict(_mounted(proc))
    for block in sorted(device.glob("**/block/*")):
        for disk in (block, *sorted(path.parent for path in block.glob("*/partition"))):
            where = mounted.get((disk / "dev").read_text().strip())
            if where is not None:
                return f"{disk.name} is mounted on {where}: umount {where}"
            if any((disk / "holders").glob("*")):
                return f"{disk.name} is part of another block device: stop that one"
            if f"/dev/{disk.name}" in (proc / "swaps").read_text().split():
                return f"{disk.name} is used as swap: swapoff /dev/{disk.name}"
    return ""


class Opener(msgspec.Struct, frozen=True, order=True):
    """A process that has a file open."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.name})"


def openers(*files: Path, proc: Path = PROC) -> list[Opener]:
    """Processes that have one of ``files`` open, as far as we have permission to look."""
    found = set()
    names = {str(file) for file in files}
    for link in proc.glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # the process has ended, or is another user's
            if str(link.readlink()) in names:
                folder = link.parent.parent
                found.add(Opener(int(folder.name), (folder / "comm").read_text().strip()))
    return sorted(found)


def wait_for_openers(files: Sequence[Path], timeout_s: float) -> list[Opener]:
    """Wait until the processes that have ``files`` open now have ended; those that have not."""
    until = time.monotonic() + timeout_s
    left = []
    for opener in openers(*files):
        try:
            pidfd = os.pidfd_open(opener.pid)
        except ProcessLookupError:
            continue
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                left.append(opener)
        finally:
            os.close(pidfd)
    return left


def _mounted(proc: Path) -> Iterator[tuple[str, str]]:
    """Device number, like ``8:1``, and mount point (proc_pid_mountinfo(5))."""
    for line in (proc / "self/mountinfo").read_text().splitlines():
        fields = line.split()
        yield fields[2], fields[4]
