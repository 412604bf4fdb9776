"""RAM, SYNC and hellos go through as they are; damage goes through unread."""

import re

import pytest

from harness.history import wire
from harness.wire.framing import Part
from harness.wire.packets import MultiFDInit
from tests.unit.proxy.ends import KINDS
from tests.unit.proxy.playbook import packet
from tests.unit.proxy.streams import SYNC, hello, ram


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cuts", [0, 1, 7, 1000])
def test_ram_and_sync_go_through_as_they_are(new_ends, kind: str, cuts: int) -> None:
    ends = new_ends(kind)
    data = hello(3) + SYNC + ram() + ram(b"") + SYNC
    assert ends.pass_on(data, cuts) == data
    assert [hello.channel_id for hello in ends.chain.hellos] == [3]
    assert not ends.chain.packets + ends.of(wire.PacketIn) + ends.damages
    assert ends.forwarder.framer.part is Part.HEAD


@pytest.mark.parametrize("kind", KINDS)
def test_packet_waits_while_pages_are_on_their_way(new_ends, kind: str) -> None:
    ends = new_ends(kind)
    ends.pass_on(hello(0) + ram()[:-1])
    assert ends.forwarder.is_inside
    ends.connection.deliver(packet(0))
    assert not ends.of(wire.PacketOut)
    assert ends.pass_on(ram()[-1:]) == ram()[-1:] + packet(0).pack()
    assert not ends.forwarder.is_inside
    assert ends.of(wire.PacketOut)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cuts", [0, 5])
def test_damage_is_recorded_once_and_everything_goes_on(new_ends, kind: str, cuts: int) -> None:
    ends = new_ends(kind)
    data = hello(0) + SYNC + b"\xff" * 100 + SYNC
    assert ends.pass_on(data, cuts) == data
    assert ends.damages == [
        f"source, connection 1, byte {64 + len(SYNC)}: magic 0xffffffff, not 0x11223344"
    ]
    assert ends.end() == b""
    assert len(ends.damages) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_hello_too(new_ends, kind: str) -> None:
    ends = new_ends(kind)
    data = b"\x11\x22\x33\x44" + b"\xff" * 200
    assert ends.pass_on(data) == data
    assert len(ends.damages) == 1
    assert ends.chain.hellos == []


@pytest.mark.parametrize("kind", KINDS)
def test_hello_goes_out_as_the_chain_greets(new_ends, kind: str) -> None:
    ends = new_ends(kind)
    ends.chain.hello_out = MultiFDInit(9, version=7)
    assert ends.pass_on(hello(3) + SYNC) == ends.chain.hello_out.pack() + SYNC
    assert [hello.channel_id for hello in ends.chain.hellos] == [3]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 275, 1343, 1344, 5000])
def test_end_inside_a_packet_is_recorded_and_its_bytes_go(new_ends, kind: str, size: int) -> None:
    ends = new_ends(kind)
    out = ends.pass_on(hello(0) + ram()[:size])
    assert out + ends.end() == hello(0) + ram()[:size]
    (damage,) = ends.damages
    assert re.fullmatch(r"source, connection 1, byte \d+: ends inside a packet", damage)


@pytest.mark.parametrize("kind", KINDS)
def test_end_between_packets_is_none(new_ends, kind: str) -> None:
    ends = new_ends(kind)
    ends.pass_on(hello(0) + SYNC)
    assert ends.end() == b""
    assert ends.damages == []
