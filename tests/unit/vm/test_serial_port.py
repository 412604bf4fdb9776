"""A serial port's contents: written, and read back."""

import copy

import msgspec
import pytest

from harness.vm import serial_port
from tests.unit.vm.mtty_port import Ports

PORT = 0xC000


@pytest.fixture
def monitor():
    return Ports(PORT, PORT + 8)


async def test_all_that_was_written_is_read_back(monitor):
    written = await serial_port.fill(monitor, PORT, "a")
    assert await serial_port.drain(monitor, PORT) == written
    assert len(bytes.fromhex(written.fifo)) == serial_port.FIFO_SIZE
    assert written.divisor > 0xFF
    assert written.scr
    assert written.lsr & 0x01, "data is ready"


async def test_nothing_is_read_twice(monitor):
    await serial_port.fill(monitor, PORT, "a")
    await serial_port.drain(monitor, PORT)
    again = await serial_port.drain(monitor, PORT)
    assert again.fifo == ""


async def test_contents_are_others_for_each_seed_and_the_same_for_one(monitor):
    written = [await serial_port.fill(monitor, PORT, seed) for seed in ("a", "b", "a")]
    assert written[0] == written[2]
    assert written[0].fifo != written[1].fifo
    assert written[0].divisor != written[1].divisor


@pytest.mark.parametrize("seed", [str(n) for n in range(20)])
async def test_contents_raise_no_interrupt_and_leave_the_latch_open(monitor, seed):
    await serial_port.fill(monitor, PORT, seed)
    port = monitor.ports[PORT]
    assert port.registers[1] == 0
    assert port.is_latched
    assert port.registers[3] & 0x7F
    assert port.registers[4]


async def test_other_ports_are_left_alone(monitor):
    before = copy.deepcopy(vars(monitor.ports[PORT + 8]))
    await serial_port.fill(monitor, PORT, "a")
    assert vars(monitor.ports[PORT + 8]) == before


@pytest.mark.parametrize(
    ("damage", "field"),
    [
        (lambda port: port.fifo.pop(), "fifo"),
        (lambda port: port.fifo.reverse(), "fifo"),
        (lambda port: setattr(port, "divisor", 1), "divisor"),
        (lambda port: port.registers.__setitem__(1, 8), "ier"),
        (lambda port: port.registers.__setitem__(3, 0x80), "lcr"),
        (lambda port: port.registers.__setitem__(4, 0), "mcr"),
        (lambda port: port.registers.__setitem__(7, 0), "scr"),
        (lambda port: port.fifo.clear(), "lsr"),
    ],
)
async def test_what_was_lost_on_the_way_shows(monitor, damage, field):
    written = msgspec.structs.asdict(await serial_port.fill(monitor, PORT, "a"))
    damage(monitor.ports[PORT])
    read = msgspec.structs.asdict(await serial_port.drain(monitor, PORT))
    assert read[field] != written[field]
