"""Layouts, and that what was read is written back to the same bytes."""

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.wire.packets import (
    DEVICE_STATE_HEAD_SIZE,
    FLAG_DEVICE_STATE,
    FLAG_SYNC,
    DeviceStatePacket,
    MultiFDInit,
    RamPacket,
    ram_head_size,
    stated_payload_size,
)

IDSTR = b"0000:00:02.0/vfio".ljust(256, b"\0")
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)


def test_hello_is_laid_out_as_in_multifd_c() -> None:
    hello = MultiFDInit(7, bytes(range(16)))
    expected = struct.pack(">II", 0x11223344, 1) + bytes(range(16)) + b"\x07" + bytes(39)
    assert hello.pack() == expected
    assert MultiFDInit.unpack(expected) == hello


def test_device_state_packet_is_laid_out_as_in_multifd_h() -> None:
    packet = DeviceStatePacket(IDSTR, 3, 5, b"data", state_flags=1)
    expected = (
        struct.pack(">III", 0x11223344, 1, 0x40)
        + IDSTR
        + struct.pack(">II", 3, 16)
        + struct.pack(">III", 0, 5, 1)
        + b"data"
    )
    assert packet.pack() == expected
    assert packet.is_config
    assert packet.device == "0000:00:02.0/vfio"


@pytest.mark.parametrize(("page_size", "size"), [(4096, 1344), (16384, 576), (65536, 384)])
def test_ram_head_has_one_offset_for_each_page_of_512_kib(page_size: int, size: int) -> None:
    assert ram_head_size(page_size) == size


@given(
    flags=st.integers(0, 63),
    numbers=st.tuples(U32, U32, U32, U64, U32, U32),
    tail=st.binary(min_size=24 + 256 + 1024, max_size=24 + 256 + 1024),
)
def test_ram_packet_is_written_back_as_it_was_read(
    flags: int, numbers: tuple[int, ...], tail: bytes
) -> None:
    data = struct.pack(">III", 0x11223344, 1, flags) + struct.pack(">IIIQII", *numbers) + tail
    packet = RamPacket.unpack(data)
    assert packet.pack() == data
    assert packet.is_sync == bool(flags & FLAG_SYNC)
    assert (packet.next_packet_size, packet.packet_num) == (numbers[2], numbers[3])


@given(
    idstr=st.binary(min_size=256, max_size=256),
    fields=st.tuples(U32, U32),
    payload=st.binary(max_size=40),
    flags=st.integers(0, 2**32 - 1).map(lambda value: value | FLAG_DEVICE_STATE),
)
def test_device_state_packet_is_written_back_as_it_was_read(
    idstr: bytes, fields: tuple[int, int], payload: bytes, flags: int
) -> None:
    instance, stated = fields
    head = struct.pack(">III", 0x11223344, 1, flags) + idstr + struct.pack(">II", instance, stated)
    packet = DeviceStatePacket.unpack(head, payload)
    assert packet.pack_head() == head
    assert packet.pack() == head + payload
    assert (packet.idx is None) == (len(payload) < 12)


def test_stated_length_can_be_made_wrong_on_purpose() -> None:
    packet = replace(DeviceStatePacket(IDSTR, 0, 0, b"abc"), next_packet_size=99)
    assert stated_payload_size(packet.pack()[:DEVICE_STATE_HEAD_SIZE]) == 99
    assert packet.pack()[DEVICE_STATE_HEAD_SIZE:].endswith(b"abc")


def test_idstr_that_is_no_text_can_still_be_named() -> None:
    assert DeviceStatePacket(b"\xff" * 256, 0, 0, b"").device.startswith("\\xff")
