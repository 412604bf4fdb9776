"""Device-state packets go through as they come, and are seen."""

import os
import re
import socket
from dataclasses import replace
from typing import Any

import pytest
import xxhash
from msgspec import to_builtins

from harness.history import wire
from harness.proxy.multifd_forwarder import HEADS
from harness.wire.packets import DeviceStatePacket
from tests.unit.proxy.ends import CUT_THROUGH, Ends
from tests.unit.proxy.playbook import config, packet
from tests.unit.proxy.streams import SYNC, fill, hello, ram, receive

BIG = packet(0, os.urandom(1 << 20))
PACKETS = [BIG, config(1), packet(2, b""), replace(packet(3), idx=None, data=b"short")]


def _seen(ends: Ends) -> list[tuple[int | None, int, str | None]]:
    came, went = ends.of(wire.PacketIn), ends.of(wire.PacketOut)
    assert [to_builtins(seen.body) for seen in came] == [to_builtins(seen.body) for seen in went]
    assert all(before.t_ns <= after.t_ns for before, after in zip(came, went, strict=True))
    return [(seen.body.idx, seen.body.size, seen.body.digest) for seen in came]


def _expected(made: DeviceStatePacket, kind: str) -> tuple[int | None, int, str | None]:
    data = made.data if made.idx is not None else b""
    has_digest = kind == "cut through with digest"
    return made.idx, len(data), xxhash.xxh3_128_hexdigest(data) if has_digest else None


@pytest.mark.parametrize("kind", CUT_THROUGH)
@pytest.mark.parametrize("cuts", [0, 10, 3000])
def test_packets_go_through_and_are_recorded(new_ends, kind: str, cuts: int) -> None:
    packets = PACKETS[1:] if cuts == 10 else PACKETS
    ends = new_ends(kind)
    data = hello(0) + SYNC + b"".join(made.pack() for made in packets) + ram()
    assert ends.pass_on(data, cuts) == data
    assert _seen(ends) == [_expected(made, kind) for made in packets]
    assert not ends.damages


@pytest.mark.parametrize("kind", CUT_THROUGH)
def test_nothing_is_waited_for(new_ends, kind: str) -> None:
    ends = new_ends(kind)
    ends.pass_on(hello(0))
    assert ends.pass_on(BIG.pack()[:5000]) == BIG.pack()[:5000]
    assert _seen(ends) == []


@pytest.mark.parametrize("kind", CUT_THROUGH)
def test_a_full_sink_stops_it_inside_the_packet(new_ends, kind: str) -> None:
    ends = new_ends(kind)
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
    assert _seen(ends) == [_expected(BIG, kind)]


@pytest.mark.parametrize("kind", CUT_THROUGH)
@pytest.mark.parametrize("size", [100, 280, 300, 70_000])
def test_end_inside_a_packet_is_recorded_and_its_bytes_go(new_ends, kind: str, size: int) -> None:
    ends = new_ends(kind)
    out = ends.pass_on(hello(0) + BIG.pack()[:size])
    assert out + ends.end() == hello(0) + BIG.pack()[:size]
    (damage,) = ends.damages
    assert re.fullmatch(r"source, connection 1, byte \d+: ends inside a packet", damage)
    assert _seen(ends) == []


def test_packet_is_out_when_the_sink_has_taken_its_last_byte(new_ends) -> None:
    ends = new_ends("cut through")
    ends.pass_on(hello(0) + BIG.pack()[:-1000])
    filled = fill(ends.connection.destination)
    ends.writer.sendall(BIG.pack()[-1000:])
    ends.forwarder.read()
    assert [len(ends.of(kind)) for kind in (wire.PacketIn, wire.PacketOut)] == [1, 0]
    receive(ends.reader, filled)
    ends.outlet.flush()
    assert receive(ends.reader, 1000) == BIG.pack()[-1000:]
    assert _seen(ends) == [_expected(BIG, "cut through")]


@pytest.mark.parametrize("kind", CUT_THROUGH)
def test_packet_that_the_sink_does_not_take_to_its_end_is_not_recorded(new_ends, kind: str) -> None:
    ends = new_ends(kind)
    ends.pass_on(hello(0) + BIG.pack()[:5000])
    ends.reader.close()
    ends.writer.sendall(BIG.pack()[5000:90_000])
    ends.forwarder.read()
    ends.connection.settle()
    assert ends.outlet.is_broken
    assert not ends.forwarder.is_open
    assert _seen(ends) == []


@pytest.mark.parametrize("kind", CUT_THROUGH)
def test_data_is_not_read_by_this_process_unless_a_digest_is_wanted(
    new_ends, kind: str, monkeypatch
) -> None:
    ends = new_ends(kind)
    read = _sizes_received(ends.connection.source, monkeypatch)
    data = hello(0) + BIG.pack() + ram(bytes(128 * 4096)) + SYNC
    assert ends.pass_on(data) == data
    heads = 64 + 288 + 3 * len(SYNC)
    if kind == "cut through":
        assert sum(read) < heads + HEADS * len(SYNC)
    else:
        assert sum(read) >= len(BIG.data)


def _sizes_received(sock: socket.socket, monkeypatch) -> list[int]:
    sizes = []
    recv, recv_into = socket.socket.recv, socket.socket.recv_into

    def counted_recv(self: socket.socket, *args: int) -> bytes:
        data = recv(self, *args)
        sizes.extend([len(data)] * (self is sock))
        return data

    def counted_recv_into(self: socket.socket, *args: Any) -> int:
        size = recv_into(self, *args)
        sizes.extend([size] * (self is sock))
        return size

    monkeypatch.setattr(socket.socket, "recv", counted_recv)
    monkeypatch.setattr(socket.socket, "recv_into", counted_recv_into)
    return sizes


@pytest.mark.parametrize("kind", CUT_THROUGH)
def test_syncs_go_together(new_ends, kind: str, monkeypatch) -> None:
    ends = new_ends(kind)
    ends.pass_on(hello(0) + SYNC)
    read = _sizes_received(ends.connection.source, monkeypatch)
    data = SYNC * (2 * HEADS) + packet(0).pack()
    assert ends.pass_on(data) == data
    assert len(read) <= 5
    assert len(ends.of(wire.PacketOut)) == 1
