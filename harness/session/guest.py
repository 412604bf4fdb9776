"""Waiting for a guest of ``images/guest``: until it is up, and until it goes on.

What it reports on its console becomes records (``vm.console``).
"""

from harness.errors import LostVM
from harness.scenario import Scenario
from harness.session.firmware import show
from harness.session.log import Log
from harness.session.peer import Peer
from harness.vm import migration

_FIRST_ROUNDS = 2
"""Rounds until memory and devices are surely full of its pattern, and were found good."""


async def until_up(source: Peer, scenario: Scenario, log: Log) -> bool:
    """Wait until it has found the devices and reported its first rounds; whether it has.  If its
    QEMU ends before, that is left to the verdict.

    :raise LostVM: it does not come up
    """
    console, guest = source.console, scenario.guest
    if console is None or guest is None:
        return True

    def seen() -> bool | None:
        is_up = console.ready is not None and console.rounds >= _FIRST_ROUNDS
        return True if is_up or console.why_not or not source.vm.is_running else None

    try:
        await source.vm.activity.until(seen, guest.boot_deadline_s)
    except TimeoutError:
        raise LostVM(
            f"the guest was not up after {guest.boot_deadline_s:g} s; its last words: "
            f"{console.last_line or 'none'}; see {console.path}"
        ) from None
    if console.why_not:
        raise LostVM(f"the guest gave up before the migration: {console.why_not}")
    if not source.vm.is_running:
        return False
    found = console.ready.devices if console.ready else ()
    missing = [device.id for device in scenario.devices if device.id not in found]
    if missing:
        raise LostVM(f"the guest does not find {', '.join(missing)}; see {console.path}")
    await show(source, scenario, log)
    return True


async def until_it_goes_on(peer: Peer, scenario: Scenario) -> str:
    """Wait until it has reported some more rounds, or ``deadline_s``; what did not
    come, or "".  The end of its QEMU has a record of its own.
    """
    console, guest = peer.console, scenario.guest
    if console is None or guest is None or peer.is_paused or migration.is_stopped(peer.events):
        return ""
    wanted = console.rounds + guest.rounds

    def seen() -> bool | None:
        return (
            True if console.rounds >= wanted or console.why_not or not peer.vm.is_running else None
        )

    try:
        await peer.vm.activity.until(seen, scenario.deadline_s)
    except TimeoutError:
        return f"{guest.rounds} more rounds of the guest at the {peer.side}"
    return ""
