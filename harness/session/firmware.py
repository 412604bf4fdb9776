"""What the harness does in place of firmware and driver before a migration, and what a guest
would see of the devices before and after it.

Where no guest runs, it is done through the monitor (``vm.pci_config``).  What was written and read
becomes records: ``guest_config`` and ``guest_bar`` of each emulated device, ``guest_serial`` of
each serial card, whose state nothing else shows.  A guest that runs places and fills the devices
itself, and reports what it sees (``guest``): then only ``guest_config`` is recorded.
"""

import asyncio

import msgspec

from harness.devices.vfio_pci import slot_of
from harness.history import Side
from harness.history.session import GuestBar, GuestConfig, GuestSerial
from harness.scenario import Device, Scenario
from harness.session import interrupts
from harness.session.log import Log
from harness.session.peer import Peer
from harness.vm import command_line, guest_image, migration, pci_config, serial_port


def image(scenario: Scenario) -> bytes:
    """The firmware for a QEMU of ``scenario`` that boots no Linux: the guest itself, or one that
    halts at once where there is none.

    :raise PrerequisiteMissing: the guest is not built
    """
    if scenario.guest is None or scenario.has_linux:
        return command_line.firmware()
    return guest_image.firmware(scenario.guest.memory_kib)


async def set_up(source: Peer, scenario: Scenario, log: Log) -> None:
    """Give the source's devices a place and contents, as firmware and a driver would, and
    record what a guest then sees.

    :raise VMError: the monitor did not answer
    """
    source.devices.fill_contents()
    if scenario.guest is not None:
        return  # its firmware places them; what a guest sees is recorded once it is up
    await asyncio.gather(
        *(_place(source, scenario, index) for index in range(len(scenario.devices)))
    )
    await interrupts.set_up(source, scenario)
    await show(source, scenario, log)


async def show(source: Peer, scenario: Scenario, log: Log) -> None:
    """Record what a guest sees at a source whose devices have their place; a serial card gets
    new contents, since reading the old ones has consumed them.

    :raise VMError: the monitor did not answer
    """
    await _view(source, scenario, log)
    if scenario.guest is not None:
        return
    await interrupts.view(source, scenario, log, "before")
    for index, spec in enumerate(scenario.devices):
        for port in _ports(index, spec):
            seed = f"{scenario.name} {scenario.seed} {port}"
            shown = await serial_port.fill(source.vm.monitor, port, seed)
            _note_serial(source, log, spec, port, shown)


async def observe(peer: Peer, scenario: Scenario, log: Log) -> None:
    """Record what a guest sees at the destination; or saw at the source, when it stopped for
    good.

    :raise VMError: the monitor did not answer
    """
    if peer.side is Side.SOURCE:
        if migration.source_end(peer.events) == "completed" and not peer.vm.is_stuck:
            await _view_registers(peer, scenario, log)
            await interrupts.view(peer, scenario, log, "after")
        return
    await _view(peer, scenario, log)
    if scenario.guest is not None:
        return
    await interrupts.view(peer, scenario, log, "after")
    await interrupts.view_unmasked(peer, scenario, log)
    for index, spec in enumerate(scenario.devices):
        for port in _ports(index, spec):
            shown = await serial_port.drain(peer.vm.monitor, port)
            _note_serial(peer, log, spec, port, shown)


def _note_serial(
    peer: Peer, log: Log, spec: Device, port: int, shown: serial_port.Registers
) -> None:
    log.record(GuestSerial(port, msgspec.structs.asdict(shown)), peer.side, spec.id)


async def _place(source: Peer, scenario: Scenario, index: int) -> None:
    spec, monitor, slot = scenario.devices[index], source.vm.monitor, slot_of(index)
    line = 0x10 + index if scenario.interrupt_line else None
    if spec.bar_size:
        address = pci_config.bar_address(index, spec.bar_size)
        await pci_config.set_up(monitor, slot, address, interrupt_line=line)
    elif ports := _ports(index, spec):
        await pci_config.set_up_io(monitor, slot, ports)


def _ports(index: int, spec: Device) -> list[int]:
    """First I/O port of each of the device's serial ports."""
    first = pci_config.io_address(index)
    return [first + number * serial_port.PORTS for number in range(spec.serial_ports)]


async def _view_registers(peer: Peer, scenario: Scenario, log: Log) -> None:
    """Record ``guest_config`` of each device, as a guest reads it now."""
    slots = map(slot_of, range(len(scenario.devices)))
    registers = await asyncio.gather(
        *(pci_config.registers(peer.vm.monitor, slot) for slot in slots)
    )
    for spec, found in zip(scenario.devices, registers, strict=True):
        log.record(GuestConfig(found), peer.side, spec.id)


async def _view(peer: Peer, scenario: Scenario, log: Log) -> None:
    """All devices at once, because each answer alone is a round trip."""
    monitor = peer.vm.monitor
    seen = [
        (spec, pci_config.bar_address(index, spec.bar_size))
        for index, spec in enumerate(scenario.devices)
        if spec.bar_size and scenario.guest is None
    ]
    _, words = await asyncio.gather(
        _view_registers(peer, scenario, log),
        asyncio.gather(*(pci_config.words(monitor, address) for _, address in seen)),
    )
    for (spec, _), shown in zip(seen, words, strict=True):
        log.record(GuestBar(shown), peer.side, spec.id)
