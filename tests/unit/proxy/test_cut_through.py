"""Device-state packets go through as they come, and are seen."""

import os
import re
from dataclasses import replace

import pytest
import xxhash
from msgspec import to_builtins

from harness.history import wire
from harness.wire.packets import DeviceStatePacket
from tests.unit.proxy.ends import Ends
from tests.unit.proxy.playbook import config, packet
from tests.unit.proxy.streams import SYNC, fill, hello, ram, receive

BIG = packet(0, os.urandom(1 << 20))
PACKETS = [BIG, config(1), packet(2, b""), replace(packet(3), idx=None, data=b"short")]


def _seen(ends: Ends) -> list[tuple[int | None, int, str]]:
    came, went = ends.of(wire.PacketIn), ends.of(wire.PacketOut)
    assert [to_builtins(seen.body) for seen in came] == [to_builtins(seen.body) for seen in went]
    assert all(before.t_ns <= after.t_ns for before, after in zip(came, went, strict=True))
    return [(seen.body.idx, seen.body.size, seen.body.digest) for seen in came]


def _expected(made: DeviceStatePacket) -> tuple[int | None, int, str]:
    data = made.data if made.idx is not None else b""
    return made.idx, len(data), xxhash.xxh3_128_hexdigest(data)


@pytest.mark.parametrize("cuts", [0, 10, 3000])
def test_packets_go_through_and_are_recorded(new_ends, cuts: int) -> None:
    packets = PACKETS[1:] if cuts == 10 else PACKETS
    ends = new_ends("cut through")
    data = hello(0) + SYNC + b"".join(made.pack() for made in packets) + ram()
    assert ends.pass_on(data, cuts) == data
    assert _seen(ends) == [_expected(made) for made in packets]
    assert not ends.damages


def test_nothing_is_waited_for(new_ends) -> None:
    ends = new_ends("cut through")
    ends.pass_on(hello(0))
    assert ends.pass_on(BIG.pack()[:5000]) == BIG.pack()[:5000]
    assert _seen(ends) == []


def test_a_full_sink_stops_it_inside_the_packet(new_ends) -> None:
    ends = new_ends("cut through")
    ends.pass_on(hello(0))
    filled = fill(ends.connection.destination)
    ends.writer.sendall(BIG.pack()[:100_000])
    ends.forwarder.read()
    assert ends.outlet.held
    assert not ends.forwarder.wants_more
    receive(ends.reader, filled)
    ends.outlet.flush()
    ends.taken = ends.outlet.sent - 100_000
    assert ends.pass_on(BIG.pack()[100_000:]) == BIG.pack()
    assert _seen(ends) == [_expected(BIG)]


@pytest.mark.parametrize("size", [100, 280, 300, 70_000])
def test_end_inside_a_packet_is_recorded_and_its_bytes_go(new_ends, size: int) -> None:
    ends = new_ends("cut through")
    out = ends.pass_on(hello(0) + BIG.pack()[:size])
    assert out + ends.end() == hello(0) + BIG.pack()[:size]
    (damage,) = ends.damages
    assert re.fullmatch(r"source, connection 1, byte \d+: ends inside a packet", damage)
    assert _seen(ends) == []
