"""What a QEMU is asked about its migration; the answers become records."""

import asyncio
import contextlib

from harness.errors import QmpTimeout, VMError
from harness.scenario import Scenario
from harness.scenario.delays import delays_s
from harness.session.peer import Peer
from harness.vm import migration

SETTLE_S = 5.0
"""For the other side to end once one has failed, and for a source to run again."""


def settle_s(scenario: Scenario) -> float:
    """Seconds for the other side to end: a device that is slow may still be read or written."""
    most_s = SETTLE_S + delays_s(scenario)
    return max(SETTLE_S, min(most_s, scenario.deadline_s))


async def how_it_went(peer: Peer) -> None:
    """Ask for the migration's end and the guest's state, where somebody answers."""
    if not peer.vm.is_running or peer.vm.is_stuck:
        return
    monitor = peer.vm.monitor
    try:
        await asyncio.gather(monitor.execute("query-migrate"), monitor.execute("query-status"))
    except QmpTimeout:
        await peer.vm.record_hang("query-status")
    except VMError:
        pass  # recorded as execute without return


async def until_resumed(source: Peer, destination: Peer) -> None:
    """A source that has failed runs its guest again, a moment after it said so; one that has
    completed, for nothing, is made to.  One whose guest was paused stays so.
    """
    end, vm = migration.source_end(source.events), source.vm
    if not vm.is_running or vm.is_stuck or end is None or source.is_paused:
        return
    if end == "completed":
        if migration.destination_end(destination.events) != "completed":
            with contextlib.suppress(VMError):
                await vm.monitor.execute("cont")
        return

    def resumed() -> bool | None:
        return True if not (vm.is_running and migration.is_stopped(source.events)) else None

    with contextlib.suppress(TimeoutError):  # then query-status says that it stays stopped
        await vm.activity.until(resumed, SETTLE_S)
