"""What a QEMU is asked about its migration; the answers become records."""

import asyncio

from harness.errors import QmpTimeout, VMError
from harness.session.peer import Peer


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
