"""Device-state packets are given to the chain, and nothing of them goes on by itself."""

import os
import re
from dataclasses import replace

import pytest

from harness.history import wire
from tests.unit.proxy.playbook import config, packet
from tests.unit.proxy.streams import SYNC, hello, ram

BIG = packet(0, os.urandom(1 << 20))
PACKETS = [
    BIG,
    config(1),
    packet(2, b""),
    replace(packet(3), idx=None, data=b"short"),
    replace(packet(4), idx=None, data=b""),
]


@pytest.mark.parametrize("cuts", [0, 10, 3000])
def test_packets_are_recorded_and_handed_over_and_the_rest_goes_on(new_ends, cuts: int) -> None:
    packets = PACKETS[1:] if cuts == 10 else PACKETS
    ends = new_ends("store and forward")
    around = [hello(0), SYNC, ram(), SYNC, ram(), SYNC]
    data = b"".join(part + made.pack() for part, made in zip(around, packets, strict=False))
    assert ends.pass_on(data, cuts) == b"".join(around[: len(packets)])
    assert ends.chain.packets == packets
    assert all(isinstance(made.data, bytes) for made in ends.chain.packets)
    assert [seen.body.idx for seen in ends.of(wire.PacketIn)] == [made.idx for made in packets]
    assert not ends.damages


def test_it_goes_on_while_little_is_held_and_stops_when_much_is(new_ends) -> None:
    ends = new_ends("store and forward")
    ends.outlet.write(bytes(3 << 20))
    assert ends.outlet.held
    assert ends.forwarder.wants_more
    ends.outlet.write(bytes(3 << 20))
    assert not ends.forwarder.wants_more


@pytest.mark.parametrize("size", [100, 280, 300, 70_000])
def test_end_inside_a_packet_is_recorded_and_its_bytes_go(new_ends, size: int) -> None:
    ends = new_ends("store and forward")
    out = ends.pass_on(hello(0) + BIG.pack()[:size])
    assert out + ends.end() == hello(0) + BIG.pack()[:size]
    (damage,) = ends.damages
    assert re.fullmatch(r"source, connection 1, byte \d+: ends inside a packet", damage)
    assert ends.chain.packets == []
