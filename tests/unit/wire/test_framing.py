"""Units begin and end where they should, whatever pieces they come in."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import WireError
from harness.wire.framing import PAGES_LIMIT, PAYLOAD_LIMIT, Framer, Part, StateHead
from harness.wire.packets import RamPacket
from tests.unit.proxy.playbook import config, packet
from tests.unit.proxy.streams import SYNC, hello, ram

SHORT = replace(packet(0), idx=None, data=b"short")
PACKETS = {
    "hello": hello(2),
    "sync": SYNC,
    "ram": ram(),
    "state": packet(3).pack(),
    "config": config(4).pack(),
    "no data": packet(5, b"").pack(),
    "short": SHORT.pack(),
}
KINDS = {"hello": "MultiFDInit", "sync": "RamPacket", "ram": "RamPacket"}


def _walk(data: bytes, cuts: list[int], *, looks: bool) -> list[tuple[str, bytes]]:
    """Kinds and bytes of the units in ``data``, handed out as a relay does it."""
    framer, at = Framer("source"), 0
    units: list[Any] = []
    unit: object
    current = b""
    sizes = itertools.cycle(cuts)
    while at < len(data):
        if framer.part is Part.HEAD and looks and not framer.partial:
            ahead = data[at : at + framer.longest_head]
            unit = framer.look_at_state(ahead)
            if unit is not None or framer.look_at_ram(ahead):
                units.append("RamPacket" if unit is None else type(unit).__name__)
                current = b""
                continue
        size = min(framer.left, len(data) - at, next(sizes))
        piece, at = data[at : at + size], at + size
        if framer.part is Part.HEAD:
            unit = framer.take_head(piece)
            if unit is not None:
                units.append(type(unit).__name__)
                current = framer.taken
                if framer.part is Part.HEAD:
                    units.append(current)
        else:
            current += piece
            if framer.take_body(len(piece)):
                units.append(current)
    return list(zip(units[::2], units[1::2], strict=True))


@given(
    names=st.lists(st.sampled_from(sorted(set(PACKETS) - {"hello"})), max_size=8),
    cuts=st.lists(st.integers(1, 3000), min_size=1),
    looks=st.booleans(),
)
def test_units_are_those_that_were_written(names: list[str], cuts: list[int], looks: bool) -> None:
    written = ["hello", *names]
    units = _walk(b"".join(PACKETS[name] for name in written), cuts, looks=looks)
    assert [unit for _, unit in units] == [PACKETS[name] for name in written]
    assert [kind for kind, _ in units] == [KINDS.get(name, "StateHead") for name in written]


def test_state_head_has_vfio_s_header_and_the_size_of_the_data() -> None:
    framer = _after_hello()
    data = packet(3, b"x" * 1000).pack()
    assert framer.look_at_state(data[:1344]) == StateHead(data[:276], data[276:288], 1000)
    assert (framer.part, framer.left) == (Part.DATA, 1288)
    framer = _after_hello()
    assert framer.look_at_state(SHORT.pack()) == StateHead(SHORT.pack()[:276], b"short", 0)
    assert framer.take_body(281)


def test_head_that_is_not_complete_cannot_be_looked_at() -> None:
    framer = _after_hello()
    for size in (0, 11, 12, 275, 276, 287):
        assert framer.look_at_state(packet(3).pack()[:size]) is None
    for size in (0, 12, 1343):
        assert not framer.look_at_ram(SYNC[:size])
    assert framer.part is Part.HEAD
    assert framer.left == 276


def test_hello_is_not_looked_at() -> None:
    assert Framer("source").look_at_state(hello(0) + packet(0).pack()) is None
    assert not Framer("source").look_at_ram(hello(0) + ram())


def test_partial_head_is_remembered() -> None:
    framer = _after_hello()
    assert framer.take_head(SYNC[:276]) is None
    assert framer.partial == SYNC[:276]
    assert framer.left == len(SYNC) - 276
    assert not framer.look_at_ram(SYNC), "some of it was taken already"
    assert framer.look_at_state(packet(0).pack()) is None


@pytest.mark.parametrize(
    ("heads", "behind", "size"),
    [
        ((SYNC, SYNC, SYNC), b"", 3 * len(SYNC)),
        ((SYNC, ram()), ram(), len(SYNC) + len(ram())),
        ((ram(),), SYNC, len(ram())),
        ((SYNC, SYNC), packet(0).pack(), 2 * len(SYNC)),
        ((SYNC,), SYNC[:-1], len(SYNC)),
        ((SYNC, SYNC), b"QEVM" + bytes(2000), 2 * len(SYNC)),
    ],
    ids=["bare", "pages end it", "pages first", "device state ends it", "cut", "damage ends it"],
)
def test_heads_without_pages_are_looked_at_together(
    heads: tuple[bytes, ...], behind: bytes, size: int
) -> None:
    framer = _after_hello()
    assert framer.look_at_ram(b"".join(heads) + behind)
    assert (framer.part, framer.left) == (Part.PAGES, size)
    assert framer.take_body(size)
    assert framer.part is Part.HEAD


def test_what_the_other_look_is_for_is_left_alone() -> None:
    framer = _after_hello()
    assert not framer.look_at_ram(packet(3, bytes(2000)).pack())
    assert framer.look_at_state(ram()) is None
    assert (framer.part, framer.left) == (Part.HEAD, 276)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"QEVM" + bytes(8), "magic 0x5145564d"),
        (replace(packet(0), version=2).pack()[:12], "version 2"),
        (replace(packet(0), next_packet_size=PAYLOAD_LIMIT + 1).pack_head(), "device state of"),
        (replace(RamPacket.unpack(SYNC), next_packet_size=PAGES_LIMIT + 1).pack(), "pages of"),
        (replace(RamPacket.unpack(SYNC), pages_alloc=8).pack(), "for 8 pages, not 128"),
    ],
)
def test_damage_names_the_offset_and_leaves_what_was_taken(data: bytes, words: str) -> None:
    framer = _after_hello()
    framer.take_head(SYNC[:276])
    framer.take_head(SYNC[276:])
    whole = data.ljust(1344, b"\0")
    assert framer.look_at_state(whole) is None, "damage is raised when it is taken"
    assert not framer.look_at_ram(whole)
    if len(data) > 276:
        framer.take_head(data[:276])
        data_left = data[276:]
    else:
        data_left = data
    with pytest.raises(WireError, match=words) as caught:
        framer.take_head(data_left)
    assert f"source, byte {64 + len(SYNC)}:" in str(caught.value)
    assert framer.part is Part.RAW
    assert framer.taken == data


def test_damaged_hello() -> None:
    framer = Framer("source")
    with pytest.raises(WireError, match="byte 0: version 9"):
        framer.take_head(b"\x11\x22\x33\x44\x00\x00\x00\x09" + bytes(4))


def _after_hello() -> Framer:
    framer = Framer("source")
    assert framer.take_head(hello(2)) is not None
    return framer


@pytest.mark.parametrize("head", [SYNC[:1], ram(), packet(0).pack()[:288]], ids=len)
def test_end_inside_a_packet_is_damage(head: bytes) -> None:
    framer = _after_hello()
    framer.check_end()
    framer.take_head(head[:276])
    framer.take_head(head[276 : len(SYNC)])
    with pytest.raises(WireError, match=r"source, byte \d+: ends inside a packet"):
        framer.check_end()
