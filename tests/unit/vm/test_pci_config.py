"""PCI configuration space through a human monitor that has a PCI bus behind it."""

import itertools
import re

import pytest

from harness.vm import pci_config

ADDRESS_PORT, DATA_PORT = 0xCF8, 0xCFC


class Bus:
    """The human monitor of a QEMU with a PCI bus and memory."""

    def __init__(self):
        self.config: dict[tuple[int, int], int] = {}
        self.memory: dict[int, int] = {}
        self._address = 0

    async def human(self, *lines):
        return [self._answer(line) for line in lines]

    def _answer(self, line):
        match line.split():
            case ["o/w", port, value] if int(port, 16) == ADDRESS_PORT:
                self._address = int(value, 16)
                return ""
            case ["o/w", port, value] if int(port, 16) == DATA_PORT:
                self.config[self._place()] = int(value, 16)
                return ""
            case ["i/w", port] if int(port, 16) == DATA_PORT:
                value = self.config.get(self._place(), 0)
                return f"portl[0x0cfc] = 0x{value:08x}\r\n"
            case [command, address] if found := re.fullmatch(r"xp/(\d+)xw", command):
                return self._dump(int(address, 16), int(found[1]))
        raise AssertionError(f"no such line: {line}")

    def _place(self):
        """(slot, offset) in configuration mechanism #1."""
        assert self._address >> 31 == 1, "the enable bit"
        assert self._address >> 8 & 0x7F_FF07 == 0x80_0000 & 0x7F_FF07, "bus 0, function 0"
        assert self._address & 0x3 == 0
        return self._address >> 11 & 0x1F, self._address & 0xFF

    def _dump(self, address, count):
        """Four words a line, as QEMU prints them."""
        lines = []
        for first in range(0, count, 4):
            at = address + 4 * first
            words = [self.memory.get(at + 4 * n, 0) for n in range(min(4, count - first))]
            lines.append(f"{at:016x}: " + " ".join(f"0x{word:08x}" for word in words) + "\r\n")
        return "".join(lines)


@pytest.fixture
def bus():
    return Bus()


async def test_register_is_written_and_read_at_its_place(bus):
    await pci_config.write_config(bus, 3, 0x10, 0xC000_0000)
    await pci_config.write_config(bus, 31, 0xFC, 1)
    assert bus.config == {(3, 0x10): 0xC000_0000, (31, 0xFC): 1}
    assert await pci_config.read_config(bus, 3, 0x10) == 0xC000_0000
    assert await pci_config.read_config(bus, 4, 0x10) == 0


async def test_set_up_places_the_bar_and_lets_the_device_work(bus):
    await pci_config.set_up(bus, 2, 0xC100_0000)
    assert bus.config == {(2, 0x10): 0xC100_0000, (2, 0x04): 0x6}


async def test_io_bars_are_placed_one_after_the_other_and_decoded_last(bus):
    await pci_config.set_up_io(bus, 2, [0xC000, 0xC008])
    assert bus.config == {(2, 0x10): 0xC000, (2, 0x14): 0xC008, (2, 0x04): 0x1}
    assert list(bus.config)[-1] == (2, 0x04)


def test_io_ports_of_several_devices_are_apart():
    places = [pci_config.io_address(index) for index in range(24)]
    assert all(later - place >= 16 for place, later in itertools.pairwise(places))
    assert places[0] >= 0x1000
    assert places[-1] < 0x10000


def test_lines_for_ports_are_those_of_the_human_monitor():
    assert pci_config.write_port(0xC003, 0x83) == "o/b 0xc003 0x83"
    assert pci_config.read_port(0xC003) == "i/b 0xc003"
    assert pci_config.value_of("portb[0xc003] = 0x1b\r\n") == 0x1B


async def test_interrupt_line_is_written_where_it_is_asked_for(bus):
    await pci_config.set_up(bus, 2, 0xC000_0000, interrupt_line=0x12)
    assert bus.config[2, 0x3C] == 0x12


async def test_command_is_the_last_to_be_written(bus):
    """Memory is decoded only once the BAR has its place."""
    await pci_config.set_up(bus, 2, 0xC000_0000, interrupt_line=0x10)
    assert list(bus.config)[-1] == (2, 0x04)


@pytest.mark.parametrize("bar_size", [4096, 1 << 24, 1 << 26])
def test_bars_of_several_devices_are_apart_and_aligned(bar_size):
    places = [pci_config.bar_address(index, bar_size) for index in range(8)]
    assert all(place % bar_size == 0 for place in places)
    ends = [place + bar_size for place in places]
    assert all(end <= start for end, start in zip(ends, places[1:], strict=False))
    assert ends[-1] <= 0xFEC0_0000, "below the interrupt controllers"


async def test_registers_are_told_by_their_offset(bus):
    await pci_config.set_up(bus, 2, 0xC100_0000, interrupt_line=0x11)
    assert await pci_config.registers(bus, 2) == {"0x04": 0x6, "0x10": 0xC100_0000, "0x3c": 0x11}


@pytest.mark.parametrize("count", [1, 4, 6])
async def test_words_are_read_from_guest_memory(bus, count):
    bus.memory = {0xC000_0000 + 4 * n: 0xC000_0000 | n for n in range(count + 2)}
    assert await pci_config.words(bus, 0xC000_0000, count) == [
        0xC000_0000 | n for n in range(count)
    ]


async def test_four_words_are_read_where_nothing_is_said(bus):
    assert len(await pci_config.words(bus, 0xC000_0000)) == 4
