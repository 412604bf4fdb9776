"""Waiting for a guest of ``images/guest``: until it is up, and until it goes on.

What it reports on its console becomes records (``vm.console``).
"""

import contextlib

from harness.errors import LostVM, VMError
from harness.scenario import Scenario
from harness.scenario.interrupts import At
from harness.session.firmware import show
from harness.session.log import Log
from harness.session.peer import Peer
from harness.vm import migration

_ANSWERS = 2
_SHOWN_IN = 5
"""Rounds in which the guest surely shows which interrupts have come."""
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
    if _has_interrupts(scenario):
        with contextlib.suppress(OSError):  # QEMU is gone, which is recorded
            source.devices.fire(At.BEFORE)
        await _shown(source, scenario)
    await show(source, scenario, log)
    return True


def _has_interrupts(scenario: Scenario) -> bool:
    return any(device.interrupts.is_used for device in scenario.emulated)


async def _shown(peer: Peer, scenario: Scenario) -> None:
    """Wait until the guest has shown each interrupt that was fired before this call: QEMU's main
    loop handles all that is ready before it answers the monitor again.
    """
    console, guest = peer.console, scenario.guest
    if console is None or guest is None:
        return
    with contextlib.suppress(VMError, TimeoutError):
        for _ in range(_ANSWERS):
            await peer.vm.monitor.ask("query-name")
        wanted = console.rounds + max(guest.rounds, _SHOWN_IN)

        def seen() -> bool | None:
            is_over = console.why_not or not peer.vm.is_running
            return True if console.rounds >= wanted or is_over else None

        await peer.vm.activity.until(seen, scenario.deadline_s)


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
    if _has_interrupts(scenario):
        await _shown(peer, scenario)
    return ""
