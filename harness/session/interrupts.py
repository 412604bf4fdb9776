"""What the harness does with a device's MSI-X in place of a driver, and what a guest sees of it.

A vector writes its message to a word of the guest's RAM (``scenario.interrupts``): an interrupt is
a write like any other, and this one shows that it has arrived.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Literal

from harness.devices.vfio_pci import slot_of
from harness.history.device import Fired
from harness.history.session import GuestInterrupts
from harness.scenario import EmulatedDevice, Scenario
from harness.scenario.interrupts import At, message_address, message_data
from harness.session.log import Log
from harness.session.peer import Peer
from harness.vfio import config_space
from harness.vm import pci_config

_ENTRY_SIZE = 16
_BITS = 32
_LOOKS, _AGAIN_S = 10, 0.02
"""How often an interrupt that was fired is looked for: the main loop handles all that is ready each
time before it answers the monitor."""

Moment = Literal["before", "after", "unmasked"]


def _devices(scenario: Scenario) -> Iterator[tuple[int, EmulatedDevice]]:
    """Those with interrupts, with their numbers."""
    for index, device in enumerate(scenario.devices):
        if isinstance(device, EmulatedDevice) and device.interrupts.is_used:
            yield index, device


async def set_up(source: Peer, scenario: Scenario) -> None:
    """Let each vector write its word, enable MSI-X, mask the function if that is wanted, and let
    the devices fire.

    :raise VMError: QEMU does not answer
    """
    if not any(_devices(scenario)):
        return
    monitor, qtest = source.vm.monitor, source.qtest
    if qtest is None:  # an earlier migration has set them up
        return
    for index, device in _devices(scenario):
        slot, table = slot_of(index), pci_config.table_address(index)
        await pci_config.place_table(monitor, slot, table)
        for vector in range(device.interrupts.vectors):
            await qtest.write(table + vector * _ENTRY_SIZE, *_entry(index, vector))
        await _set(source, index, masked=False)
        if device.interrupts.masked:
            await _set(source, index, masked=True)
    with contextlib.suppress(OSError):  # it is gone, which is recorded
        source.devices.fire(At.BEFORE)


async def view(peer: Peer, scenario: Scenario, log: Log, moment: Moment) -> None:
    """Record what a guest sees at ``peer``.

    :raise VMError: QEMU does not answer
    """
    for index, device in _devices(scenario):
        seen = await _looked(peer, index, device, moment)
        log.record(seen, peer.side, device.id)


async def view_unmasked(peer: Peer, scenario: Scenario, log: Log) -> None:
    """Unmask the functions that are masked, and record what a guest sees then."""
    for index, device in _devices(scenario):
        if device.interrupts.masked:
            await _set(peer, index, masked=False)
            seen = await _looked(peer, index, device, "unmasked")
            log.record(seen, peer.side, device.id)


async def _set(peer: Peer, index: int, *, masked: bool) -> None:
    await pci_config.set_msix(
        peer.vm.monitor, slot_of(index), config_space.MSIX_CAPABILITY, enabled=True, masked=masked
    )


async def _looked(
    peer: Peer, index: int, device: EmulatedDevice, moment: Moment
) -> GuestInterrupts:
    """What is there once each interrupt that was fired is, or cannot come any more."""
    for _ in range(_LOOKS):
        seen = await _seen(peer, index, device, moment)
        fired = {
            record.args.vector
            for record in peer.log.records
            if isinstance(record.args, Fired) and record.device == device.id and record.args.armed
        }
        if fired <= {*seen.arrived, *seen.pending}:
            break
        await asyncio.sleep(_AGAIN_S)
    return seen


async def _seen(peer: Peer, index: int, device: EmulatedDevice, moment: Moment) -> GuestInterrupts:
    monitor, vectors = peer.vm.monitor, range(device.interrupts.vectors)
    table = pci_config.table_address(index)
    control, entries, messages, bits = await asyncio.gather(
        pci_config.read_config(monitor, slot_of(index), config_space.MSIX_CAPABILITY),
        pci_config.words(monitor, table, len(vectors) * _ENTRY_SIZE // 4),
        asyncio.gather(
            *(pci_config.words(monitor, message_address(index, vector), 1) for vector in vectors)
        ),
        pci_config.words(monitor, table + config_space.PENDING_AT, -(-len(vectors) // _BITS)),
    )
    return GuestInterrupts(
        moment=moment,
        control=control >> pci_config.MSIX_CONTROL_AT,
        programmed=[n for n in vectors if tuple(entries[4 * n : 4 * n + 4]) == _entry(index, n)],
        arrived=[n for n in vectors if messages[n] == [message_data(index, n)]],
        pending=_bits(bits),
    )


def _entry(index: int, vector: int) -> tuple[int, int, int, int]:
    """Message address, its upper half, message data, vector control (PCI_MSIX_ENTRY_*)."""
    return message_address(index, vector), 0, message_data(index, vector), 0


def _bits(words: Sequence[int]) -> list[int]:
    return [
        number * _BITS + bit
        for number, word in enumerate(words)
        for bit in range(_BITS)
        if word >> bit & 1
    ]
