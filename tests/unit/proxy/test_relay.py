"""A relay between a source and a destination that are threads and sockets of the test."""

import errno
import gzip
import os
import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.history import wire as on_wire
from harness.proxy import relay as relay_module
from harness.proxy.chain import build
from harness.proxy.events import MAIN
from harness.proxy.outlet import LIMIT
from harness.proxy.recorder import Seen
from harness.proxy.relay import Relay
from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Fields, Order, Refusal, Select, Until
from tests.unit.proxy.playbook import config, packet
from tests.unit.proxy.streams import (
    SYNC,
    TIMEOUT_S,
    hello,
    new_address,
    ram,
    receive,
    receive_all,
    send_until,
)
from tests.unit.proxy.wires import Wire

CHANNELS = 4
SAMPLES = Path(__file__).parents[2] / "data" / "main-channel"
MAIN_STREAM = gzip.decompress(sorted(SAMPLES.glob("*.gz"))[0].read_bytes())
RESET = b"\1\0\0\0\0\0\0\0"  # SO_LINGER


def _stream(channel: int, rng: random.Random) -> bytes:
    """A channel's worth of RAM, SYNC and device state, some MiB."""
    parts = [hello(channel)]
    for idx in range(channel, 8 * CHANNELS, CHANNELS):
        data = rng.randbytes(rng.choice((0, 1, 5000, 1 << 20)))
        parts += [ram(rng.randbytes(4096 * rng.randrange(1, 128))), packet(idx, data).pack(), SYNC]
    return b"".join(parts)


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize("has_digests", [False, True], ids=["unread", "digests"])
@pytest.mark.parametrize("channels", [1, CHANNELS, 16])
def test_every_byte_arrives_both_ways(
    new_wire, tcp: bool, channels: int, has_digests: bool
) -> None:
    wire = new_wire(tcp=tcp, has_digests=has_digests)
    rng = random.Random(channels)
    streams = [b"QEVM" + rng.randbytes(3 << 20)]
    streams += [_stream(channel, rng) for channel in range(channels)]
    back = rng.randbytes(1 << 20)
    pairs = [wire.channel(stream[:64]) for stream in streams]

    def send(sock: socket.socket, data: bytes) -> None:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    with ThreadPoolExecutor(4 * len(pairs)) as pool:
        for stream, (source, destination) in zip(streams, pairs, strict=True):
            pool.submit(send, source, stream[64:])
            pool.submit(send, destination, back)
        forth = [pool.submit(receive_all, destination) for _, destination in pairs]
        returned = [pool.submit(receive_all, source) for source, _ in pairs]
        for stream, received in zip(streams, forth, strict=True):
            assert received.result(TIMEOUT_S) == stream[64:]
        assert all(received.result(TIMEOUT_S) == back for received in returned)
    wire.wait_for(on_wire.ChannelClosed, len(pairs))
    wire.relay.close()
    assert wire.relay.failure is None
    assert (
        len(wire.of(on_wire.PacketIn))
        == len(wire.of(on_wire.PacketOut))
        == sum(len(range(channel, 8 * CHANNELS, CHANNELS)) for channel in range(channels))
    )
    closed = {seen.body.connection: seen.body for seen in wire.of(on_wire.ChannelClosed)}
    assert [closed[number].to_destination for number in range(len(pairs))] == [
        len(stream) for stream in streams
    ]
    assert not wire.of(on_wire.Damaged)


BIG = packet(1, os.urandom(1 << 20)).pack()
PAGES = ram(os.urandom(128 * 4096))


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize("unit", [BIG, PAGES], ids=["state", "ram"])
def test_pieces_of_a_body_go_on_at_once(new_wire, tcp: bool, unit: bytes) -> None:
    """Each is waited for, so that none of them can lie together with the next."""
    wire = new_wire(tcp=tcp)
    source, destination = wire.channel(hello(0))
    rng = random.Random(0)
    pieces, at = [packet(0).pack() + unit[:1400]], 1400
    while at < len(unit):
        size = rng.choice((1, 2000, 5000, 70_000, 300_000))
        pieces.append(unit[at : at + size])
        at += size
    pieces += [SYNC + SYNC, packet(2).pack()]
    for piece in pieces:
        source.sendall(piece)
        assert receive(destination, len(piece)) == piece
    wire.wait_for(on_wire.PacketOut, 2 + (unit is BIG))
    wire.relay.close()
    assert len(wire.of(on_wire.PacketIn)) == len(wire.of(on_wire.PacketOut)) == 2 + (unit is BIG)
    assert not wire.of(on_wire.Damaged)


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize("unit", [BIG, PAGES], ids=["state", "ram"])
def test_source_that_ends_inside_a_body(new_wire, tcp: bool, unit: bytes) -> None:
    wire = new_wire(tcp=tcp)
    source, destination = wire.channel(hello(0))
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(receive_all, destination)
        source.sendall(packet(0).pack() + unit[:-1])
        source.shutdown(socket.SHUT_WR)
        assert received.result(TIMEOUT_S) == packet(0).pack() + unit[:-1]
    (damaged,) = wire.wait_for(on_wire.Damaged)
    assert damaged.body.what.endswith("ends inside a packet")
    (ended,) = wire.wait_for(on_wire.ChannelEnded)
    assert (ended.body.side, ended.body.is_reset) == ("source", False)
    assert [len(wire.of(kind)) for kind in (on_wire.PacketIn, on_wire.PacketOut)] == [1, 1]


@pytest.mark.parametrize("side", ["source", "destination"])
@pytest.mark.parametrize("unit", [BIG, PAGES], ids=["state", "ram"])
def test_reset_inside_a_body_is_passed_on(new_wire, side: str, unit: bytes) -> None:
    wire = new_wire(tcp=True)
    source, destination = wire.channel(hello(0))
    source.sendall(unit[:100_000])
    receive(destination, 100_000)
    dying, other = (source, destination) if side == "source" else (destination, source)
    dying.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    dying.close()
    with pytest.raises(ConnectionResetError):
        other.recv(1)
    ended = {seen.body.side: seen.body.is_reset for seen in wire.wait_for(on_wire.ChannelEnded, 2)}
    assert ended[side]
    wire.wait_for(on_wire.ChannelClosed)
    assert not wire.of(on_wire.PacketIn) + wire.of(on_wire.PacketOut)
    wire.relay.close()
    assert wire.relay.failure is None


def test_destination_that_stops_reading_inside_a_body_stops_the_source(new_wire) -> None:
    wire = new_wire()
    source, destination = wire.channel(hello(0))
    source.settimeout(0.5)
    stream = PAGES * 40
    sent = send_until(source, stream, TimeoutError)
    assert sent < LIMIT + (4 << 20)
    source.settimeout(TIMEOUT_S)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(source.sendall, stream[sent:])
        assert receive(destination, len(stream)) == stream


def test_state_goes_through_a_chain_of_faults(new_wire) -> None:
    wire = new_wire(plan.Reorder(order=Order.REVERSED), plan.MoveToChannel(channel=2))
    packets = [packet(idx, os.urandom(200_000)) for idx in range(7)] + [config(7)]
    ends = [wire.channel(hello(channel)) for channel in range(CHANNELS)]
    for number, made in enumerate(packets):
        ends[number % CHANNELS][0].sendall(made.pack() + SYNC)
        wire.wait_for(on_wire.PacketIn, number + 1)
    for source, _ in ends:
        source.shutdown(socket.SHUT_WR)
    expected = b"".join(made.pack() for made in reversed(packets))
    received = [receive_all(destination) for _, destination in ends]
    assert received[0] == received[1] == received[3] == SYNC * 2
    assert received[2] == SYNC * 2 + expected
    assert [seen.body.idx for seen in wire.of(on_wire.PacketOut)] == [7, 6, 5, 4, 3, 2, 1, 0]
    wire.relay.close()
    assert [fired.times for fired in wire.relay.fired] == [8, 6]


def test_packet_is_not_put_into_another_channel_s_pages(new_wire) -> None:
    wire = new_wire(plan.MoveToChannel(channel=0))
    ends = [wire.channel(hello(channel)) for channel in range(2)]
    pages = ram(bytes(64 * 4096))
    ends[0][0].sendall(pages[:5000])
    assert receive(ends[0][1], 5000) == pages[:5000]
    ends[1][0].sendall(packet(0).pack())
    wire.wait_for(on_wire.Fault)
    ends[0][0].sendall(pages[5000:] + SYNC)
    rest = receive(ends[0][1], len(pages) - 5000 + len(packet(0).pack()) + len(SYNC))
    assert rest == pages[5000:] + packet(0).pack() + SYNC


@pytest.mark.parametrize("faults", [[], [plan.Drop(select=Select(idx=(99,)))]], ids=str)
def test_source_is_stopped_by_a_destination_that_does_not_read(new_wire, faults) -> None:
    wire = new_wire(*faults)
    source, destination = wire.channel(hello(0))
    source.settimeout(0.5)
    stream = b"".join(packet(idx, bytes(1 << 20)).pack() for idx in range(24))
    sent = send_until(source, stream, TimeoutError)
    assert sent < LIMIT + (16 << 20), "it goes on taking what the destination does not read"
    source.settimeout(TIMEOUT_S)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(source.sendall, stream[sent:])
        assert receive(destination, len(stream)) == stream


def test_one_full_channel_does_not_stop_the_others(new_wire) -> None:
    wire = new_wire()
    full, _ = wire.channel(hello(0))
    full.setblocking(False)
    assert send_until(full, SYNC, BlockingIOError)
    source, destination = wire.channel(hello(1))
    source.sendall(SYNC)
    assert receive(destination, len(SYNC)) == SYNC


def test_slow_fault_stops_the_source(new_wire) -> None:
    wire = new_wire(plan.Pace(bytes_per_s=1))
    source, _ = wire.channel(hello(0))
    source.settimeout(0.5)
    send_until(source, packet(0, bytes(1 << 20)).pack(), TimeoutError)
    assert len(wire.of(on_wire.PacketIn)) < 40


def test_half_close_leaves_the_return_path_open(new_wire) -> None:
    wire = new_wire()
    source, destination = wire.channel(b"QEVM")
    source.shutdown(socket.SHUT_WR)
    assert destination.recv(1) == b""
    destination.sendall(b"return path")
    assert receive(source, 11) == b"return path"
    destination.close()
    assert source.recv(1) == b""
    (closed,) = wire.wait_for(on_wire.ChannelClosed)
    assert closed.channel == MAIN
    assert [seen.body.side for seen in wire.of(on_wire.ChannelEnded)] == ["source", "destination"]


@pytest.mark.parametrize("faults", [[], [plan.Drop(select=Select(idx=(99,)))]], ids=str)
def test_destination_that_dies_ends_the_source_s_writing(new_wire, faults) -> None:
    wire = new_wire(*faults)
    source, destination = wire.channel(hello(0))
    destination.close()
    send_until(source, SYNC, ConnectionError)
    source.close()
    wire.wait_for(on_wire.ChannelClosed)


@pytest.mark.parametrize("first", [b"QEVM", hello(0)], ids=["main", "multifd"])
def test_source_that_dies_ends_the_destination_s_reading(new_wire, first: bytes) -> None:
    wire = new_wire()
    source, destination = wire.channel(first)
    source.close()
    assert destination.recv(1) == b""
    destination.close()
    wire.wait_for(on_wire.ChannelClosed)


def test_reset_is_passed_on(new_wire) -> None:
    wire = new_wire(tcp=True)
    source, destination = wire.channel(b"QEVM")
    source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    source.close()
    with pytest.raises(ConnectionResetError):
        destination.recv(1)
    (ended, *_) = wire.wait_for(on_wire.ChannelEnded)
    assert ended.body.is_reset


@pytest.mark.parametrize("faults", [[], [plan.Drop(select=Select(idx=(99,)))]], ids=str)
def test_damaged_stream_is_recorded_and_passed_on(new_wire, faults) -> None:
    wire = new_wire(*faults)
    source, destination = wire.channel(hello(3))
    data = SYNC + replace(packet(0), magic=7).pack() + os.urandom(100_000)
    source.sendall(data)
    source.close()
    assert receive_all(destination) == data
    (damaged,) = wire.of(on_wire.Damaged)
    assert damaged.channel == 3
    assert damaged.body.what == (
        f"source, connection 0, byte {64 + len(SYNC)}: magic 0x00000007, not 0x11223344"
    )


@pytest.mark.parametrize(("first", "kind"), [(b"\x16\x03\x01\x02", "tls"), (b"PING", "raw")])
def test_anything_else_is_passed_on_unread(new_wire, first, kind) -> None:
    wire = new_wire()
    source, destination = wire.channel(first)
    source.sendall(b"bytes that no relay reads")
    assert receive(destination, 25) == b"bytes that no relay reads"
    (opened,) = wire.of(on_wire.ChannelOpened)
    assert opened.body == on_wire.ChannelOpened(connection=0, kind=kind)


def test_destination_that_is_not_there_refuses_the_source(new_wire) -> None:
    wire = new_wire()
    wire.listener.close()
    source = wire.connect()
    assert source.recv(1) == b""
    (refused,) = wire.wait_for(on_wire.ChannelRefused)
    assert refused.body == on_wire.ChannelRefused(connection=0, reason="Connection refused")


def test_another_user_is_closed_and_recorded_and_the_source_served(new_wire, monkeypatch) -> None:
    answers = iter([{"pid": 7, "uid": 65534}])
    monkeypatch.setattr(relay_module, "stranger", lambda _sock: next(answers, None))
    wire = new_wire()
    assert wire.connect().recv(1) == b""
    (refused,) = wire.wait_for(on_wire.StrangerRefused)
    assert refused.body == on_wire.StrangerRefused(pid=7, uid=65534)
    wire.channel(hello(0))
    (opened,) = wire.wait_for(on_wire.ChannelOpened)
    assert opened.body.connection == 0, "a stranger's is none of the source's"
    assert len(wire.of(on_wire.StrangerRefused)) == 1


def test_another_user_is_not_one_of_those_that_a_fault_lets_in(new_wire, monkeypatch) -> None:
    answers = iter([{"pid": 7, "uid": 65534}])
    monkeypatch.setattr(relay_module, "stranger", lambda _sock: next(answers, None))
    wire = new_wire(plan.HoldConnections(accepted=1, until=Until(told="go")))
    assert wire.connect().recv(1) == b""
    wire.channel(hello(0))
    wire.connect()
    wire.wait_for(on_wire.Fault)
    assert len(wire.of(on_wire.ChannelOpened)) == 1


def test_relay_leaves_no_file_behind(new_wire) -> None:
    wire = new_wire()
    path = wire.relay.address.folder / wire.relay.address.path
    wire.channel(hello(0))
    assert path.is_socket()
    wire.relay.close()
    assert not path.exists()
    wire.relay.close()


def test_listener_with_a_short_queue_is_tried_again(new_wire) -> None:
    wire = new_wire()
    wire.listener.listen(0)
    sources = [wire.connect() for _ in range(8)]
    for number, source in enumerate(sources):
        source.sendall(hello(number))
    for _ in sources:
        wire.sockets.append(wire.listener.accept()[0])
    wire.wait_for(on_wire.ChannelOpened, len(sources))
    assert {seen.channel for seen in wire.of(on_wire.ChannelOpened)} == set(range(8))


def test_source_that_ends_inside_a_packet_loses_none_that_came_before(new_wire) -> None:
    wire = new_wire(plan.Hold(until=Until(told="go")))
    source, destination = wire.channel(hello(0))
    whole, cut = packet(0).pack(), packet(1, bytes(4096)).pack()[:1000]
    source.sendall(whole + cut)
    source.close()
    wire.wait_for(on_wire.ChannelEnded)
    wire.relay.notify("go")
    assert receive_all(destination) == whole + cut
    assert len(wire.of(on_wire.PacketOut)) == 1
    assert not wire.of(on_wire.PacketLost)


def test_outside_events_reach_the_faults(new_wire) -> None:
    wire = new_wire(plan.Hold(until=Until(told="go", value=3)))
    source, destination = wire.channel(hello(0))
    source.sendall(packet(0).pack())
    wire.wait_for(on_wire.Fault)
    wire.relay.notify("go", 2)
    wire.relay.notify("go", 3, "0000:00:02.0/vfio")
    assert receive(destination, len(packet(0).pack())) == packet(0).pack()


def test_delays_are_kept(new_wire) -> None:
    wire = new_wire(plan.Delay(delay_s=0.2))
    source, destination = wire.channel(hello(0))
    source.sendall(packet(0).pack())
    assert receive(destination, len(packet(0).pack())) == packet(0).pack()
    (came,), (went,) = wire.of(on_wire.PacketIn), wire.wait_for(on_wire.PacketOut)
    assert 0.2 <= (went.t_ns - came.t_ns) / 1e9 < TIMEOUT_S


def test_relay_waits_while_a_delay_lasts_and_not_for_what_may_never_come(new_wire) -> None:
    for delay_s, seen, is_waiting in ((60, on_wire.Fault, True), (0.01, on_wire.PacketOut, False)):
        wire = new_wire(plan.Delay(delay_s=delay_s))
        source, _ = wire.channel(hello(0))
        assert not wire.relay.is_waiting
        source.sendall(packet(0).pack())
        wire.wait_for(seen)
        assert wire.relay.is_waiting is is_waiting
    held = new_wire(plan.Hold(until=Until(told="never")))
    source, _ = held.channel(hello(0))
    source.sendall(packet(0).pack())
    held.wait_for(on_wire.Fault)
    assert not held.relay.is_waiting


def test_relay_has_a_thread_of_its_own(new_wire) -> None:
    assert new_wire().relay.thread_id not in (0, threading.get_native_id())


def test_main_channel_stalls_and_its_return_path_does_not(new_wire) -> None:
    wire = new_wire(plan.StallMain(until=Until(told="go")))
    main, main_destination = wire.channel(b"QEVM")
    source, _ = wire.channel(hello(0))
    source.sendall(packet(0).pack())
    wire.wait_for(on_wire.MainStalled)
    main.sendall(b"later")
    main_destination.sendall(b"now")
    assert receive(main, 3) == b"now"
    main_destination.setblocking(False)
    with pytest.raises(BlockingIOError):
        main_destination.recv(1)
    main_destination.settimeout(TIMEOUT_S)
    wire.relay.notify("go")
    assert receive(main_destination, 5) == b"later"


@pytest.mark.parametrize("is_abrupt", [False, True])
def test_channel_is_cut_inside_a_packet_at_both_ends(new_wire, is_abrupt: bool) -> None:
    wire = new_wire(plan.CutStream(select=Select(idx=(1,)), size=300, is_abrupt=is_abrupt))
    source, destination = wire.channel(hello(0))
    big = packet(1, bytes(1000)).pack()
    source.sendall(packet(0).pack() + big)
    assert source.recv(1) == b""
    received = receive_all(destination)
    assert received == packet(0).pack() + big[:300]
    wire.wait_for(on_wire.ChannelEnded, 2)


def test_packets_behind_a_closed_channel_are_lost_and_recorded(new_wire) -> None:
    wire = new_wire(plan.CloseChannel(select=Select(idx=(0,))), plan.MoveToChannel(channel=0))
    ends = [wire.channel(hello(channel)) for channel in range(2)]
    ends[0][0].sendall(packet(0).pack())
    assert receive_all(ends[0][1]) == packet(0).pack()
    ends[1][0].sendall(packet(1).pack())
    (lost,) = wire.wait_for(on_wire.PacketLost)
    assert (lost.channel, lost.body.idx) == (0, 1)


def test_all_payloads_are_kept_on_request(new_wire) -> None:
    wire = new_wire(keeps_payload=True)
    source, destination = wire.channel(hello(0))
    source.sendall(packet(0, b"payload").pack())
    assert receive(destination, 295) == packet(0, b"payload").pack()
    assert [seen.payload for seen in wire.wait_for(on_wire.PacketOut)] == [b"payload"]


@pytest.mark.parametrize("faults", [[], [plan.Drop()]], ids=["cut through", "store and forward"])
def test_tap_is_given_all_that_the_source_sends(new_wire, faults) -> None:
    tapped: dict[int, bytearray] = {channel: bytearray() for channel in (MAIN, *range(CHANNELS))}
    wire = new_wire(*faults, tap=lambda channel, data: tapped[channel].extend(data))
    rng = random.Random(0)
    streams = {channel: _stream(channel, rng) for channel in range(CHANNELS)}
    streams[MAIN] = b"QEVM" + rng.randbytes(3 << 20)
    raw, _ = wire.channel(b"\x16\x03\x01\x02")
    raw.sendall(bytes(1000))
    pairs = {channel: wire.channel(stream[:64]) for channel, stream in streams.items()}
    pairs[MAIN][1].sendall(b"return path")

    def send(sock: socket.socket, data: bytes) -> None:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    with ThreadPoolExecutor(2 * len(pairs)) as pool:
        for channel, (source, destination) in pairs.items():
            pool.submit(receive_all, destination)
            pool.submit(send, source, streams[channel][64:])
    wire.relay.close()
    assert wire.relay.failure is None
    assert tapped == streams


def test_tap_knows_a_channel_that_has_only_said_hello(new_wire) -> None:
    tapped: list[tuple[int, bytes]] = []
    wire = new_wire(tap=lambda *args: tapped.append(args))
    wire.channel(hello(2))
    wire.relay.close()
    assert tapped == [(2, hello(2))]


def test_tap_that_fails_ends_the_relay(new_wire) -> None:
    def fail(_channel: int, _data: bytes) -> None:
        raise ZeroDivisionError

    wire = new_wire(tap=fail)
    source = wire.connect()
    source.sendall(b"QEVM")
    assert source.recv(1) == b""
    wire.relay.close()
    assert isinstance(wire.relay.failure, ZeroDivisionError)


def test_broken_fault_ends_the_relay_and_every_connection(new_wire) -> None:
    wire = new_wire(plan.MoveToChannel(channel=9))
    main, main_destination = wire.channel(b"QEVM")
    source, destination = wire.channel(hello(0))
    source.sendall(packet(0).pack())
    for sock in (main, main_destination, source, destination):
        assert sock.recv(1) == b""
    wire.relay.close()
    assert isinstance(wire.relay.failure, UsageError)
    with pytest.raises(ConnectionRefusedError):
        wire.connect()


def test_recorder_that_fails_ends_the_relay_too() -> None:
    def fail(_seen: Seen) -> None:
        raise ZeroDivisionError

    wire = Wire(record=fail)
    source = wire.connect()
    source.sendall(b"QEVM")
    assert source.recv(1) == b""
    wire.relay.close()
    assert isinstance(wire.relay.failure, ZeroDivisionError)
    wire.close()


def _open_files() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


def test_nothing_is_left_behind(new_wire) -> None:
    before = _open_files()
    threads = threading.active_count()
    wire = new_wire(plan.Hold(until=Until(told="never")))
    ends = [wire.channel(hello(channel)) for channel in range(3)]
    ends[0][0].sendall(packet(0).pack())
    wire.wait_for(on_wire.Fault)
    wire.relay.close()
    wire.relay.close()
    wire.relay.notify("too late")
    assert ends[0][1].recv(1) == b""
    wire.close()
    assert _open_files() == before
    assert threading.active_count() == threads
    assert len(wire.of(on_wire.ChannelClosed)) == 3


def test_relay_that_was_never_started_is_closed_too() -> None:
    address = new_address()
    relay = Relay(address, address, build([], 0), lambda _: None)
    relay.close()
    assert relay.failure is None
    address.listen().close()


def test_rewritten_packet_arrives_rewritten(new_wire) -> None:
    wire = new_wire(plan.Rewrite(select=Select(idx=(0,)), fields=Fields(idx=77)))
    source, destination = wire.channel(hello(0))
    source.sendall(packet(0, b"x").pack() + packet(1, b"y").pack())
    made = packet(77, b"x").pack() + packet(1, b"y").pack()
    assert receive(destination, len(made)) == made


@pytest.mark.parametrize("accepted", [0, 1])
def test_connections_are_held_until_an_outside_event(new_wire, accepted: int) -> None:
    wire = new_wire(plan.HoldConnections(accepted=accepted, until=Until(told="go")))
    passed = [wire.channel(hello(channel)) for channel in range(accepted)]
    queued = wire.connect()
    queued.sendall(hello(5))
    wire.wait_for(on_wire.Fault)
    with wire.relay.address.make_socket() as waiting, ThreadPoolExecutor(1) as pool:
        connecting = pool.submit(wire.relay.address.connect, waiting)
        with pytest.raises(TimeoutError):
            connecting.result(0.2)
        assert len(wire.of(on_wire.ChannelOpened)) == accepted
        wire.relay.notify("go")
        assert connecting.result(TIMEOUT_S) == 0
        waiting.sendall(hello(6))
        wire.wait_for(on_wire.ChannelOpened, accepted + 2)
    for source, destination in passed:
        source.sendall(SYNC)
        assert receive(destination, len(SYNC)) == SYNC
    assert [fired.times for fired in wire.relay.fired] == [1]


def test_held_connections_over_tcp_are_never_reset(new_wire) -> None:
    """All of them connect at once, as a source's multifd channels do, send, and wait."""
    wire = new_wire(plan.HoldConnections(until=Until(told="go")), tcp=True)
    waiting = [wire.relay.address.make_socket() for _ in range(16)]
    wire.sockets += waiting
    for sock in waiting:
        sock.setblocking(False)
        wire.relay.address.connect(sock)
    for channel, sock in enumerate(waiting):
        sock.settimeout(TIMEOUT_S)
        sock.sendall(hello(channel))
    wire.wait_for(on_wire.Fault)
    wire.relay.notify("go")
    wire.wait_for(on_wire.ChannelOpened, len(waiting))
    for sock in waiting:
        sock.sendall(SYNC)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_connections_that_two_faults_hold_come_in_step_by_step(new_wire) -> None:
    wire = new_wire(
        plan.HoldConnections(until=Until(told="first")),
        plan.HoldConnections(accepted=1, until=Until(delay_s=0.01)),
    )
    first = wire.connect()
    first.sendall(hello(0))
    wire.wait_for(on_wire.Fault)
    assert not wire.of(on_wire.ChannelOpened)
    wire.relay.notify("first")
    wire.wait_for(on_wire.ChannelOpened)
    second = wire.connect()
    second.sendall(hello(1))
    wire.wait_for(on_wire.ChannelOpened, 2)
    assert [fired.times for fired in wire.relay.fired] == [1, 1]


def test_connections_that_are_never_let_in_are_refused_in_the_end(new_wire) -> None:
    wire = new_wire(plan.HoldConnections(until=Until(told="never")))
    queued = wire.connect()
    wire.wait_for(on_wire.Fault)
    wire.relay.close()
    with pytest.raises(ConnectionResetError):
        queued.recv(1)
    assert wire.relay.failure is None


@pytest.mark.parametrize("how", [Refusal.RESET, Refusal.CLOSED])
@pytest.mark.parametrize("tcp", [False, True])
def test_one_connection_is_closed_at_once_and_the_others_are_served(new_wire, how, tcp) -> None:
    wire = new_wire(plan.RefuseConnection(accepted=1, how=how), tcp=tcp)
    wire.channel(hello(0))
    with wire.relay.address.make_socket() as refused:
        refused.settimeout(TIMEOUT_S)
        error = wire.relay.address.connect(refused)  # the reset may be quicker than it
        if tcp and how is Refusal.RESET:
            assert error in (0, errno.ECONNRESET)
            if not error:
                with pytest.raises(ConnectionResetError):
                    refused.recv(1)
        else:
            assert error == 0
            assert refused.recv(1) == b""
    wire.channel(hello(1))
    assert [seen.body.connection for seen in wire.of(on_wire.ChannelOpened)] == [0, 2]
    assert [fired.times for fired in wire.relay.fired] == [1]


@pytest.mark.parametrize("accepted", [0, 1])
@pytest.mark.parametrize("tcp", [False, True])
def test_relay_that_does_not_listen_any_more(new_wire, accepted, tcp) -> None:
    wire = new_wire(plan.RefuseConnection(accepted=accepted, how=Refusal.NOT_LISTENING), tcp=tcp)
    for channel in range(accepted):
        wire.channel(hello(channel))
    wire.wait_for(on_wire.Fault)
    for _ in range(2):
        with wire.relay.address.make_socket() as late:
            assert wire.relay.address.connect(late) == errno.ECONNREFUSED
    assert [fired.times for fired in wire.relay.fired] == [1]
    wire.relay.close()
    assert wire.relay.failure is None


def test_connection_that_waits_when_the_relay_stops_listening_is_ended(new_wire) -> None:
    wire = new_wire(
        plan.HoldConnections(until=Until(told="go")),
        plan.RefuseConnection(accepted=1, how=Refusal.NOT_LISTENING),
    )
    first, second = wire.connect(), wire.relay.address.make_socket()
    with second, ThreadPoolExecutor(1) as pool:
        wire.wait_for(on_wire.Fault)
        connecting = pool.submit(wire.relay.address.connect, second)
        wire.relay.notify("go")
        wire.wait_for(on_wire.Fault, 2)
        if (error := connecting.result(TIMEOUT_S)) == 0:
            second.settimeout(TIMEOUT_S)
            assert second.recv(1) == b""
        assert error in (0, errno.ECONNREFUSED)
    first.sendall(hello(0))
    wire.wait_for(on_wire.ChannelOpened)


def test_rewritten_hello_arrives_and_the_channel_keeps_its_number(new_wire) -> None:
    wire = new_wire(
        plan.Hello(select=Select(channel=1), channel_id=7), plan.Drop(select=Select(channel=1))
    )
    source = wire.connect()
    source.sendall(hello(1) + packet(0).pack() + SYNC)
    destination, _ = wire.listener.accept()
    with destination:
        made = hello(7) + SYNC
        assert receive(destination, len(made)) == made
    assert [fired.times for fired in wire.relay.fired] == [1, 1]


@pytest.mark.parametrize("reads_main", [True, False])
def test_main_channel_is_read_where_that_is_asked_for(new_wire, reads_main: bool) -> None:
    wire = new_wire(
        plan.StallMain(since="switchover", until=Until(told="go")), reads_main=reads_main
    )
    source, destination = wire.channel(MAIN_STREAM[:64])
    source.sendall(MAIN_STREAM[64:])
    if reads_main:
        (switchover,) = wire.wait_for(on_wire.Switchover)
        wire.wait_for(on_wire.MainStalled)
        until = switchover.body.offset
        assert receive(destination, until - 64) == MAIN_STREAM[64:until]
        wire.relay.notify("go")
    else:
        until = 64
    assert receive(destination, len(MAIN_STREAM) - until) == MAIN_STREAM[until:]
    assert [len(wire.of(kind)) for kind in (on_wire.Switchover, on_wire.MainEnd)] == [
        reads_main
    ] * 2


@pytest.mark.parametrize("how", ["closes", "resets"])
def test_destination_that_closes_a_channel_first_is_reported(new_wire, how: str) -> None:
    """That of one whose source, or a fault, has ended it before is not."""
    stall = plan.StallMain(since="opened", until=Until(told="channel_ended"))
    cut = plan.CutStream(select=Select(idx=(0,)), size=0)
    wire = new_wire(stall, cut, tcp=True)
    main, main_out = wire.channel(b"QEVM")
    (over, over_out), (cut_in, _), (_, out) = (wire.channel(hello(n)) for n in range(3))
    main.sendall(b"passed later")
    over.close()
    assert receive_all(over_out) == b""
    over_out.close()
    cut_in.sendall(packet(0).pack())
    wire.wait_for(on_wire.ChannelEnded, 4)
    assert not wire.of(on_wire.MainResumed)
    if how == "resets":
        out.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    out.close()
    assert receive(main_out, 12) == b"passed later"


def test_damaged_main_channel_passes(new_wire) -> None:
    wire = new_wire(reads_main=True)
    data = b"QEVM" + b"\xff" * 1000
    source, destination = wire.channel(data[:4])
    source.sendall(data[4:])
    assert receive(destination, len(data) - 4) == data[4:]
    assert [seen.channel for seen in wire.of(on_wire.Damaged)] == [MAIN]


def test_main_channel_that_resumes_before_the_switchover_stops_again_right_behind_it(
    new_wire,
) -> None:
    wire = new_wire(
        plan.StallMain(since="switchover", until=Until(told="first")),
        plan.StallMain(since="switchover_passed", until=Until(told="second")),
        reads_main=True,
    )
    source, destination = wire.channel(MAIN_STREAM[:64])
    source.sendall(MAIN_STREAM[64:])
    (switchover,) = wire.wait_for(on_wire.Switchover)
    wire.relay.notify("first")
    wire.wait_for(on_wire.MainStalled, 2)
    behind = switchover.body.offset + 5
    assert receive(destination, behind - 64) == MAIN_STREAM[64:behind]
    destination.setblocking(False)
    with pytest.raises(BlockingIOError):
        destination.recv(1)
    destination.settimeout(TIMEOUT_S)
    assert not wire.of(on_wire.MainEnd)
    wire.relay.notify("second")
    assert receive(destination, len(MAIN_STREAM) - behind) == MAIN_STREAM[behind:]
