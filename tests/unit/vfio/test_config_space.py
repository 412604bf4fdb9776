"""The configuration space, read as QEMU and a guest read it."""

import struct

import pytest

from harness.scenario import EmulatedDevice
from harness.scenario.devices import VENDOR_MOST
from harness.vfio import config_space

BAR_SIZES = [1 << 12, 1 << 16, 1 << 20, 1 << 30]


def u16(config, at):
    return struct.unpack_from("<H", config, at)[0]


def u32(config, at):
    return struct.unpack_from("<I", config, at)[0]


def capabilities(config):
    """(offset, id) of each, walked as vfio_add_std_cap() and a guest do."""
    at = config[0x34]
    found: list[tuple[int, int]] = []
    while at:
        assert 0x40 <= at < 0x100, "outside of what a capability may lie in"
        assert len(found) < 48, "the list goes round"
        found.append((at, config[at]))
        at = config[at + 1]
    return found


@pytest.fixture(params=BAR_SIZES, ids=hex)
def bar_size(request):
    return request.param


@pytest.fixture
def config(bar_size):
    return config_space.build(EmulatedDevice(id="vfio0", bar_size=bar_size))


def test_is_a_conventional_function_of_256_bytes(config):
    assert len(config) == config_space.SIZE == 256


def test_ids_match_no_quirk_and_stand_in_both_places(config):
    assert u32(config, 0x00) == 0x7FD0_1234
    assert u32(config, 0x2C) == 0x7FD0_1234


def test_header_is_type_0_of_one_function_and_no_bridge(config):
    assert config[0x0E] == 0
    assert config[0x0B] == 0xFF
    assert u16(config, 0x04) == 0, "decodes nothing before it is enabled"


def test_bar_0_has_its_size_as_32_bit_memory(config, bar_size):
    bar = u32(config, 0x10)
    assert bar & 0x7 == 0, "memory, 32-bit"
    assert bar & 0x8 == 0, "not prefetchable"
    assert (~(bar & ~0xF) & 0xFFFFFFFF) + 1 == bar_size


def test_there_is_no_other_bar_and_no_rom(config):
    assert config[0x14:0x28] == bytes(0x14)
    assert u32(config, 0x30) == 0


def test_there_is_no_interrupt_pin(config):
    assert config[0x3D] == 0


def test_status_announces_a_capability_list(config):
    assert u16(config, 0x06) == 0x10


def test_only_capability_is_the_vendors_and_holds_the_scratch_registers(config):
    assert capabilities(config) == [(0x40, 0x09)]
    length = config[0x42]
    assert config_space.SCRATCH == 0x44
    assert config_space.SCRATCH_SIZE == 60
    assert length == 4 + config_space.SCRATCH_SIZE
    assert 0x40 + length <= config_space.SIZE


def test_scratch_registers_are_zero_at_power_on(config):
    assert config[0x43:0x80] == bytes(61)


def test_offsets_are_those_of_pci_regs_h():
    assert (config_space.COMMAND, config_space.BAR0, config_space.INTERRUPT_LINE) == (
        0x04,
        0x10,
        0x3C,
    )


def test_ids_and_second_vendor_capability_are_as_set():
    spec = EmulatedDevice(
        id="vfio0", vendor_id=1, device_id=2, subsystem_vendor_id=3, subsystem_id=4,
        vendor_capability="0aff",
    )  # fmt: skip
    config = config_space.build(spec)
    assert (u32(config, 0x00), u32(config, 0x2C)) == (0x2_0001, 0x4_0003)
    second = config[config_space.VENDOR_CAPABILITY + 1]
    assert config[second : second + 5] == bytes((9, 0, 5, 0x0A, 0xFF))
    assert second >= config_space.SCRATCH + config_space.SCRATCH_SIZE


def test_longest_vendor_capability_ends_with_the_space():
    spec = EmulatedDevice(id="vfio0", vendor_capability="01" * VENDOR_MOST)
    config = config_space.build(spec)
    assert len(config) == config_space.SIZE
    assert config[-1] == 1
