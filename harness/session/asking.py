"""What a QEMU is asked about its migration and its devices; the answers become records."""

import asyncio

from harness.devices.emulated import slot_of
from harness.errors import QmpTimeout, VMError
from harness.scenario import Scenario
from harness.session.log import Log
from harness.session.peer import Peer
from harness.vm import guest


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


async def guest_view(peer: Peer, scenario: Scenario, log: Log) -> None:
    """Record what a guest sees of the devices: registers, and first words of BAR 0.

    All devices are asked at once, because each answer alone is a round trip.

    :raise VMError: it did not answer
    """
    monitor, devices = peer.vm.monitor, scenario.devices
    answers = await asyncio.gather(
        *(guest.registers(monitor, slot_of(index)) for index in range(len(devices))),
        *(
            guest.words(monitor, guest.bar_address(index, spec.bar_size))
            for index, spec in enumerate(devices)
        ),
    )
    for spec, registers, words in zip(
        devices, answers[: len(devices)], answers[len(devices) :], strict=True
    ):
        log.note("guest_config", {"registers": registers}, peer.side, spec.id)
        log.note("guest_bar", {"words": words}, peer.side, spec.id)
