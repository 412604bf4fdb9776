"""Pre-copy that has not converged when the time of a migration is over."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from harness.errors import QmpTimeout, VMError
from harness.history import Side
from harness.history.session import NotConverged
from harness.session.log import Log
from harness.session.peer import Peer
from harness.vm import migration
from harness.vm.activity import Activity

_LOOK_S = 2.0
_EVERY_S = 0.1  # QEMU counts at this rate (BUFFER_DELAY of migration/migration.c)
_END_S = 5.0  # for both sides, once the migration is cancelled


async def call_off(peers: Sequence[Peer], activity: Activity, log: Log, deadline_s: float) -> bool:
    """Cancel a migration whose source is still in pre-copy; whether it was.

    :param peers: those that are waited for; without a source there is no pre-copy

    A pre-copy that makes progress is no hang: ``not_converged`` is recorded, without a
    backtrace.  If the source then does not end, that is a hang, and ``hung`` is recorded.
    """
    source = next((peer for peer in peers if peer.side is Side.SOURCE), None)
    if source is None or not await _goes_on(source):
        return False
    log.record(NotConverged(deadline_s))
    try:
        with contextlib.suppress(VMError):
            await source.vm.monitor.execute("query-status")
            await source.vm.monitor.execute("migrate_cancel")
        await activity.until(lambda: source.end, _END_S)
    except (QmpTimeout, TimeoutError):
        await source.vm.record_hang("the end after migrate_cancel")
        return True
    with contextlib.suppress(TimeoutError):  # how it ends is not asked: the source has given up
        await activity.until(lambda: all(peer.end for peer in peers) or None, _END_S)
    return True


async def _goes_on(source: Peer) -> bool:
    """Whether ``source`` is in pre-copy and sends, or begins a new pass."""
    if not source.vm.is_running or migration.last_status(source.events) != "active":
        return False
    with contextlib.suppress(VMError, TimeoutError):
        before = await _progress(source)
        async with asyncio.timeout(_LOOK_S):
            while before is not None:
                await asyncio.sleep(_EVERY_S)
                now = await _progress(source)
                if now != before:
                    return now is not None
    return False


async def _progress(source: Peer) -> tuple[Any, ...] | None:
    """What grows while it goes on; None if it is not in pre-copy any more."""
    answer = await source.vm.monitor.execute("query-migrate")
    if answer.get("status") != "active":
        return None
    ram, vfio = answer.get("ram", {}), answer.get("vfio", {})
    return ram.get("transferred"), ram.get("dirty-sync-count"), vfio.get("transferred")
