"""Each kind of unit whole, byte by byte and with bytes behind it; damage; limits."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import WireError
from harness.wire.channel import ChannelReader, Pages, Unit
from harness.wire.framing import PAGES_LIMIT, PAYLOAD_LIMIT
from harness.wire.packets import (
    DEVICE_STATE_HEAD_SIZE,
    DeviceStatePacket,
    MultiFDInit,
    RamPacket,
)
from harness.wire.reader import NEED_DATA, Need

IDSTR = b"0000:00:02.0/vfio".ljust(256, b"\0")
HELLO = MultiFDInit(2, b"U" * 16)
HELLO_SIZE = len(HELLO.pack())
STATE = DeviceStatePacket(IDSTR, 0, 4, b"state" * 100)
SYNC = RamPacket(1, 128, 0, 0, 9, 0, bytes(256), bytes(1024))
RAM = RamPacket(0, 128, 2, 8192, 10, 3, b"pc.ram".ljust(256, b"\0"), bytes(1024))
PAGES = bytes(range(256)) * 32
STREAM: list[tuple[Unit, bytes]] = [
    (HELLO, HELLO.pack()),
    (SYNC, SYNC.pack()),
    (STATE, STATE.pack()),
    (RAM, RAM.pack()),
    (Pages(PAGES), PAGES),
    (replace(STATE, idx=5, state_flags=1), replace(STATE, idx=5, state_flags=1).pack()),
    (replace(STATE, idx=None, data=b"short"), replace(STATE, idx=None, data=b"short").pack()),
]


def _all(reader: ChannelReader) -> list[Unit]:
    units: list[Unit] = []
    while not isinstance(unit := reader.next(), Need):
        units.append(unit)
    return units


def _joined(units: list[Unit]) -> list[Unit]:
    """Pieces of pages put together again: how they are cut depends on how they came."""
    joined: list[Unit] = []
    for unit in units:
        if isinstance(unit, Pages) and joined and isinstance(joined[-1], Pages):
            joined[-1] = Pages(joined[-1].data + unit.data)
        else:
            joined.append(unit)
    return joined


def _after_hello() -> ChannelReader:
    reader = ChannelReader("source, channel 2")
    reader.feed(HELLO.pack())
    assert reader.next() == HELLO
    return reader


@pytest.mark.parametrize(("unit", "data"), STREAM[1:4] + STREAM[5:], ids=lambda v: type(v).__name__)
def test_packet_comes_out_complete_byte_by_byte_and_with_bytes_behind(
    unit: Unit, data: bytes
) -> None:
    whole = _after_hello()
    whole.feed(data)
    assert whole.next() == unit

    slow = _after_hello()
    for byte in data[:-1]:
        slow.feed(bytes((byte,)))
        assert slow.next() is NEED_DATA
    slow.feed(data[-1:])
    assert slow.next() == unit

    more = _after_hello()
    more.feed(data + b"\x11\x22")
    assert more.next() == unit
    assert more.offset == HELLO_SIZE + len(data), "what is behind is another unit's"
    assert more.buffered == 2


@given(cuts=st.lists(st.integers(1, 5000), max_size=40))
def test_stream_cut_anywhere_gives_the_same_units(cuts: list[int]) -> None:
    data = b"".join(part for _, part in STREAM)
    reader = ChannelReader("source, channel 0")
    units, at = [], 0
    for cut in [*cuts, len(data)]:
        reader.feed(data[at : at + cut])
        units += _all(reader)
        at += cut
    assert _joined(units) == [unit for unit, _ in STREAM]
    assert reader.offset == len(data)
    reader.close()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (replace(STATE, magic=0x51455641).pack(), "magic 0x51455641"),
        (replace(STATE, version=2).pack(), "version 2"),
        (replace(RAM, magic=1).pack(), "magic 0x00000001"),
        (replace(STATE, next_packet_size=PAYLOAD_LIMIT + 1).pack_head(), "device state of"),
        (replace(RAM, next_packet_size=PAGES_LIMIT + 1).pack(), "pages of"),
    ],
)
def test_damage_names_channel_and_offset_and_stays(data: bytes, words: str) -> None:
    reader = _after_hello()
    reader.feed(SYNC.pack() + data)
    assert reader.next() == SYNC
    at = len(HELLO.pack()) + len(SYNC.pack())
    for _ in range(2):
        with pytest.raises(WireError, match=words) as caught:
            reader.next()
        assert f"source, channel 2, byte {at}:" in str(caught.value)
        reader.feed(STATE.pack())


@pytest.mark.parametrize("field", ["magic", "version"])
def test_damaged_hello_is_refused(field: str) -> None:
    reader = ChannelReader("source, channel ?")
    damage: dict[str, Any] = {field: 99}
    reader.feed(replace(HELLO, **damage).pack())
    with pytest.raises(WireError, match=field):
        reader.next()


@pytest.mark.parametrize(
    "data",
    [STATE.pack()[:7], STATE.pack()[:DEVICE_STATE_HEAD_SIZE], STATE.pack()[:-1], RAM.pack() + b"x"],
)
def test_end_inside_a_packet_is_an_error(data: bytes) -> None:
    reader = _after_hello()
    reader.feed(data)
    _all(reader)
    with pytest.raises(WireError, match="ends inside a packet"):
        reader.close()


def test_pages_are_passed_on_as_they_come() -> None:
    reader = _after_hello()
    reader.feed(RAM.pack())
    assert reader.next() == RAM
    for piece in (PAGES[:1], PAGES[1:5000], PAGES[5000:]):
        reader.feed(piece)
        assert reader.next() == Pages(piece)
    assert reader.next() is NEED_DATA
    reader.close()


def test_largest_payload_is_taken_and_nothing_beyond_it_is_held() -> None:
    largest = replace(STATE, data=bytes(PAYLOAD_LIMIT - 12))
    reader = _after_hello()
    reader.feed(largest.pack())
    assert reader.next() == largest
    reader.feed(b"")
    assert reader.buffered == 0


def test_ram_packet_of_another_page_size_is_refused():
    reader = ChannelReader("source, channel 0", page_size=4096)
    reader.feed(HELLO.pack() + replace(RAM, pages_alloc=8).pack())
    assert reader.next() == HELLO
    with pytest.raises(WireError, match=r"for 8 pages, not 128: this QEMU has another page size"):
        reader.next()
