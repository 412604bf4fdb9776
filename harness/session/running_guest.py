"""A guest of ``images/guest``: how QEMU boots it, and waiting for what it says.

It says it on its console (``vm.console``), which makes records of it.
"""

from collections.abc import Sequence
from pathlib import Path

from harness.errors import LostVM
from harness.scenario import Scenario
from harness.session import guest_side
from harness.session.log import Log
from harness.session.peer import Peer
from harness.vm import command_line, guest_image, lacking, migration

_FIRST_ROUNDS = 2
"""Rounds until memory and devices are surely full of its pattern, and were found good."""


def firmware(scenario: Scenario) -> bytes:
    """The firmware for a QEMU of ``scenario`` that boots no Linux: the guest itself, or one that
    halts at once where there is none.

    :raise PrerequisiteMissing: the guest is not built
    """
    if scenario.guest is None or scenario.has_linux:
        return command_line.firmware()
    return guest_image.firmware(scenario.guest.memory_kib)


def boot(peer: Peer, scenario: Scenario, firmware: Path) -> tuple[Sequence[str], Sequence[int]]:
    """QEMU options that say what it boots, and descriptors that these name: the guest's console,
    where there is one.

    :param firmware: the file with that of the scenario
    :raise PrerequisiteMissing: the guest's image is not built, or QEMU has no firmware for it
    """
    if scenario.guest is None or peer.console is None:
        return ("-bios", str(firmware)), ()
    console = peer.console
    if scenario.has_linux:
        lacking.of_firmware(peer.binary)
        boots = guest_image.find().options(scenario.guest.memory_kib)
    else:
        boots = ["-bios", str(firmware)]
    return [*boots, *console.options()], [console.fd]


async def until_up(source: Peer, scenario: Scenario, log: Log) -> bool:
    """Wait until it has found the devices and told its first rounds; whether it has: the end
    of its QEMU meanwhile is left to the verdict.

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
    found = console.ready["devices"] if console.ready else ()
    missing = [device.id for device in scenario.devices if device.id not in found]
    if missing:
        raise LostVM(f"the guest does not find {', '.join(missing)}; see {console.path}")
    await guest_side.show(source, scenario, log)
    return True


async def until_it_goes_on(peer: Peer, scenario: Scenario) -> str:
    """Wait until it has told some more rounds, or ``deadline_s``; what was waited for in vain,
    or "".  The end of its QEMU is recorded by itself.
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
