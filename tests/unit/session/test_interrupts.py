"""The harness as a driver that sets MSI-X up, and what it then sees."""

from types import SimpleNamespace
from typing import Any

import pytest

from harness.history import Record, Side
from harness.history.device import Fired
from harness.scenario import EmulatedDevice, Scenario
from harness.scenario.interrupts import At, Fire, Interrupts, message_address, message_data
from harness.session import interrupts
from harness.session.log import Log
from harness.vfio.config_space import MSIX_CAPABILITY, PENDING_AT
from harness.vm import pci_config
from tests.twins.damage import held
from tests.unit.vm.test_pci_config import Bus

TABLE = pci_config.table_address(1)


class Peer:
    """A QEMU with memory and a PCI bus; an interrupt arrives when it is fired."""

    def __init__(self, arrives=True):
        self.side, self.log, self.arrives = Side.SOURCE, SimpleNamespace(records=[]), arrives
        self.bus = Bus()
        self.vm = SimpleNamespace(monitor=self.bus)
        self.qtest = self.devices = self
        self.fired = []

    async def write(self, address, *words):
        for number, word in enumerate(words):
            self.bus.memory[address + 4 * number] = word

    def fire(self, at):
        self.fired.append(at)
        self.log.records.append(Record.of(1, self.side, Fired(0, "before", True), "b"))
        if self.arrives:
            self.bus.memory[message_address(1, 0)] = message_data(1, 0)


def scenario(**fields):
    spec = Interrupts(**{"vectors": 2, "fires": (Fire(at=At.BEFORE),), **fields})
    devices = (EmulatedDevice(id="a"), EmulatedDevice(id="b", interrupts=spec))
    return Scenario(name="x", devices=devices)


async def seen(peer, wanted, moment="before"):
    log = Log()
    await interrupts.view(peer, wanted, log, moment)
    (record,) = log.records
    assert (record.side, record.device) == (peer.side, "b")
    return record.args


async def test_driver_programs_the_table_enables_msix_and_lets_the_devices_fire():
    peer: Any = Peer()
    await interrupts.set_up(peer, scenario())
    assert peer.bus.config[3, 0x14] == TABLE
    assert peer.bus.config[3, MSIX_CAPABILITY] == 1 << 31
    assert peer.fired == [At.BEFORE]
    assert [peer.bus.memory[TABLE + 16 + 4 * n] for n in range(4)] == [
        message_address(1, 1), 0, message_data(1, 1), 0,
    ]  # fmt: skip
    found = await seen(peer, scenario())
    assert (found.programmed, found.arrived, found.pending) == ([0, 1], [0], [])
    assert found.control == 0x8000


async def test_function_is_masked_before_they_fire_and_unmasked_afterwards():
    peer: Any = Peer()
    log = Log()
    await interrupts.set_up(peer, scenario(masked=True))
    assert peer.bus.config[3, MSIX_CAPABILITY] == 3 << 30
    await interrupts.view_unmasked(peer, scenario(masked=True), log)
    assert peer.bus.config[3, MSIX_CAPABILITY] == 1 << 31
    assert [held(record).moment for record in log.records] == ["unmasked"]
    await interrupts.view_unmasked(peer, scenario(), log)
    assert len(log.records) == 1


async def test_interrupt_that_does_not_come_is_waited_for_no_longer_than_needed(monkeypatch):
    monkeypatch.setattr(interrupts, "_AGAIN_S", 0.0)
    peer: Any = Peer(arrives=False)
    await interrupts.set_up(peer, scenario())
    assert (await seen(peer, scenario())).arrived == []
    peer.bus.memory[TABLE + PENDING_AT] = 0b11
    assert (await seen(peer, scenario())).pending == [0, 1]


@pytest.mark.parametrize("wanted", [Scenario(name="plain"), scenario()])
async def test_nothing_is_done_without_interrupts_or_by_a_qemu_that_has_them(wanted):
    peer: Any = Peer()
    peer.qtest = None
    await interrupts.set_up(peer, wanted)
    assert peer.bus.config == {}
    assert peer.fired == []
