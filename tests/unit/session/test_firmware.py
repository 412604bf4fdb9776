"""What is done to each kind of device, and what becomes a record of it."""

from types import SimpleNamespace

import pytest

from harness.history import Kind, Record, Side
from harness.scenario import EmulatedDevice, MdevDevice, Scenario
from harness.scenario.guest_plan import LINUX_RAM_MIB, Guest, GuestKind
from harness.session import firmware
from harness.session.log import Log
from harness.vm import command_line, guest_image
from tests.unit.vm.mtty_port import Ports
from tests.unit.vm.test_pci_config import Bus


class Machine:
    """The human monitor of a QEMU with a PCI bus and serial ports."""

    def __init__(self, *places):
        self.bus = Bus()
        self.ports = Ports(*places)

    async def human(self, *lines):
        answers = []
        for line in lines:
            target = self.ports if line.split()[0] in ("o/b", "i/b") else self.bus
            answers += await target.human(line)
        return answers


class Attached:
    def __init__(self):
        self.is_filled = False

    def fill_contents(self):
        self.is_filled = True


SCENARIO = Scenario(
    name="mixed",
    devices=(
        EmulatedDevice(id="e", bar_size=4096),
        MdevDevice(id="one", type="mtty-1"),
        MdevDevice(id="two", type="mtty-2"),
        MdevDevice(id="gpu", type="i915-GVTg_V5_4"),
    ),
)
PORTS = (0xC100, 0xC200, 0xC208)


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def peer():
    return SimpleNamespace(
        side=Side.SOURCE,
        devices=Attached(),
        vm=SimpleNamespace(monitor=Machine(*PORTS), is_stuck=False),
        events=[],
    )


def serial(log, side):
    return {
        (record.device, record.args.port): record.args.registers
        for record in log.records
        if record.name == "guest_serial" and record.side is side
    }


async def test_each_device_gets_its_place_and_contents(peer, log):
    await firmware.set_up(peer, SCENARIO, log)
    config = peer.vm.monitor.bus.config
    assert peer.devices.is_filled
    assert config[2, 0x10] >= 0xC0000000
    assert config[2, 0x04] == 0x6
    assert config[3, 0x10] == 0xC100
    assert (config[4, 0x10], config[4, 0x14]) == (0xC200, 0xC208)
    assert config[3, 0x04] == config[4, 0x04] == 0x1
    assert not [place for place in config if place[0] == 5], "nobody knows its BARs"
    assert set(serial(log, Side.SOURCE)) == {("one", 0xC100), ("two", 0xC200), ("two", 0xC208)}
    assert [r.device for r in log.records if r.name == "guest_config"] == ["e", "one", "two", "gpu"]
    assert [r.device for r in log.records if r.name == "guest_bar"] == ["e"]


async def test_destination_shows_what_the_source_was_given(peer, log):
    await firmware.set_up(peer, SCENARIO, log)
    peer.side = Side.DESTINATION
    await firmware.observe(peer, SCENARIO, log)
    assert serial(log, Side.SOURCE) == serial(log, Side.DESTINATION)


async def test_source_of_a_second_migration_gets_contents_again(peer, log):
    await firmware.set_up(peer, SCENARIO, log)
    before = serial(log, Side.SOURCE)
    peer.side = Side.DESTINATION
    await firmware.observe(peer, SCENARIO, Log())
    peer.side = Side.SOURCE
    second = Log()
    await firmware.show(peer, Scenario(name="back", devices=SCENARIO.devices), second)
    after = serial(second, Side.SOURCE)
    assert before.keys() == after.keys()
    assert all(len(registers["fifo"]) == 30 for registers in after.values())
    assert all(before[key]["fifo"] != after[key]["fifo"] for key in before)


async def test_each_port_has_contents_of_its_own(peer, log):
    await firmware.set_up(peer, SCENARIO, log)
    fifos = [registers["fifo"] for registers in serial(log, Side.SOURCE).values()]
    assert len(set(fifos)) == 3


async def test_guest_that_runs_does_it_itself(peer, log):
    guest = Scenario(name="g", devices=SCENARIO.devices, guest=Guest(), ram_mib=LINUX_RAM_MIB)
    await firmware.set_up(peer, guest, log)
    assert peer.devices.is_filled
    assert not peer.vm.monitor.bus.config
    assert not log.records
    await firmware.show(peer, guest, log)
    peer.side = Side.DESTINATION
    await firmware.observe(peer, guest, log)
    assert {record.name for record in log.records} == {"guest_config"}


@pytest.mark.parametrize(
    ("status", "is_stuck", "seen"),
    [("completed", False, 4), ("completed", True, 0), ("failed", False, 0), ("active", False, 0)],
)
async def test_source_is_looked_at_when_it_has_stopped_for_good(peer, status, is_stuck, seen):
    """Its registers alone: a serial card's contents would be consumed."""
    log = Log()
    peer.events = [Record(1, Side.SOURCE, Kind.QMP, "MIGRATION", {"status": status})]
    peer.vm.is_stuck = is_stuck
    await firmware.observe(peer, SCENARIO, log)
    assert [record.name for record in log.records] == ["guest_config"] * seen


QUICK = Scenario(name="quick", guest=Guest(kind=GuestKind.FIRMWARE, memory_kib=64))


def test_guest_of_a_few_pages_is_its_own_firmware(monkeypatch):
    monkeypatch.setattr(guest_image, "firmware", lambda kib: b"guest of %d KiB" % kib)
    assert firmware.image(QUICK) == b"guest of 64 KiB"


LINUX = Scenario(name="linux", guest=Guest(), ram_mib=LINUX_RAM_MIB)


@pytest.mark.parametrize("scenario", [LINUX, Scenario(name="plain")])
def test_where_no_firmware_is_the_guest_it_halts(scenario):
    assert firmware.image(scenario) == command_line.firmware()
