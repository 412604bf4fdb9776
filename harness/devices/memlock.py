"""How much memory QEMU may pin, as a device that does DMA itself needs."""

import os
import resource
from pathlib import Path

from harness.errors import PrerequisiteMissing

MIB = 1 << 20
SPARE = 64 * MIB
"""QEMU's ROMs and video memory, which VFIO maps for the device besides the guest's RAM."""
ZERO_COPY = 4 * MIB
"""What is on its way at once, of a guest that has written no RAM."""
_STATUS = Path("/proc/self/status")
_CAP_IPC_LOCK = 14  # include/uapi/linux/capability.h


def limit(status: Path = _STATUS) -> int | None:
    """Bytes that may be pinned; None if there is no limit, or CAP_IPC_LOCK lifts it."""
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    is_free = int(fields["CapEff"], 16) >> _CAP_IPC_LOCK & 1
    return None if is_free or soft == resource.RLIM_INFINITY else soft


def how_to_raise(needed: int) -> str:
    """The command that raises the limit to ``needed`` bytes."""
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    needs_root = hard != resource.RLIM_INFINITY and hard < needed and os.geteuid() != 0
    return f"ulimit -l {needed >> 10}" + (" (as root)" if needs_root else "")


def require_for_zero_copy(status: Path = _STATUS) -> None:
    """Refuse zero-copy-send where the kernel would pin too little: QEMU's ``sendmsg`` then fails.

    :raise PrerequisiteMissing: names the limit, and the command that raises it
    """
    allowed = limit(status)
    if allowed is not None and allowed < ZERO_COPY:
        raise PrerequisiteMissing(
            f"the memlock limit of {allowed >> 10} KiB is too low: zero-copy-send pins what is on "
            f"its way, {ZERO_COPY >> 10} KiB: {how_to_raise(ZERO_COPY)}"
        )


def require(ram_bytes: int, status: Path = _STATUS) -> None:
    """Refuse a guest with more RAM than may be pinned.

    :raise PrerequisiteMissing: names the limit, and the command that raises it
    """
    allowed, needed = limit(status), ram_bytes + SPARE
    if allowed is not None and allowed < needed:
        raise PrerequisiteMissing(
            f"the memlock limit of {allowed // MIB} MiB is too low: VFIO pins the guest's RAM, "
            f"{needed // MIB} MiB with ROMs: {how_to_raise(needed)}"
        )
