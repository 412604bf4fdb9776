"""Two sockets that belong together: connecting, knowing what it is, ending."""

import errno
import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from harness.history import Body, Side, wire
from harness.proxy.address import TcpAddress, UnixAddress
from harness.proxy.chain import Chain
from harness.proxy.connection import RAW, UNKNOWN, Connection
from harness.proxy.events import MAIN
from harness.proxy.executor import Executor
from harness.proxy.forwarder import Forwarder
from harness.proxy.pipe import Pipe
from harness.proxy.recorder import Recorder, Seen
from harness.proxy.store_and_forward import StoreAndForward
from tests.unit.proxy.playbook import packet
from tests.unit.proxy.streams import (
    TIMEOUT_S,
    fill,
    hello,
    new_address,
    pair,
    ram,
    receive_all,
)


class Ends:
    """A connection between ``source`` and ``destination``, of which we have the far ends."""

    def __init__(self, *, tcp: bool = False) -> None:
        self.pipe = Pipe()
        self.seen: list[Seen] = []
        self.recorder = Recorder(self.seen.append)
        self.executor = Executor(Chain(), self.recorder, lambda _delay_s, _token: None)
        self.changes = 0
        listen = TcpAddress() if tcp else new_address()
        with listen.listen() as listener:
            onward = listen.bound(listener)
            ours, self.source = _tcp_pair() if tcp else pair()
            self.connection = Connection(3, ours, onward, self.pipe, self.recorder, self._changed)
            if self.connection.connecting:
                select.select([], [self.connection.destination], [], TIMEOUT_S)
                self.connection.finish_connecting()
            select.select([listener], [], [], TIMEOUT_S)
            self.destination, _ = listener.accept()
        self.destination.settimeout(TIMEOUT_S)

    def _changed(self, connection: Connection) -> None:
        assert connection is self.connection
        self.changes += 1

    def make_multifd(self, connection: Connection) -> StoreAndForward:
        return StoreAndForward(connection, self.executor)

    def of(self, kind: type[Body]) -> list[Any]:
        return [seen for seen in self.seen if isinstance(seen.body, kind)]

    def look(self, data: bytes) -> bool:
        self.source.sendall(data)
        return self.connection.look(self.make_multifd)

    def close(self) -> None:
        self.connection.close(is_reset=False)
        if self.connection.source.fileno() >= 0:
            self.connection.dispose()
        self.source.close()
        self.destination.close()
        self.pipe.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


@pytest.fixture
def tcp_ends() -> Iterator[Ends]:
    made = Ends(tcp=True)
    yield made
    made.close()


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname(), TIMEOUT_S)
        return server.accept()[0], peer


def test_main_channel_is_known_by_its_magic(ends: Ends) -> None:
    assert not ends.look(b"QE")
    assert ends.connection.channel == UNKNOWN
    assert ends.look(b"VM and more")
    assert ends.connection.channel == MAIN
    assert ends.connection.is_known
    assert not ends.connection.from_source.is_multifd
    ends.connection.from_source.read()
    assert ends.destination.recv(99) == b"QEVM and more"


def test_multifd_channel_is_known_by_its_magic(ends: Ends) -> None:
    assert ends.look(hello(7))
    assert ends.connection.from_source.is_multifd
    ends.connection.from_source.read()
    assert ends.connection.channel == 7
    assert ends.destination.recv(99) == hello(7)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"QEVM", "main"),
        (hello(0), "multifd"),
        (b"\x16\x03\x01\x02", "tls"),
        (b"\x16\x03\x03\xff", "tls"),
        (b"\x17\x03\x03\xff", "raw"),
        (b"\x16\x02\x00\x00", "raw"),
    ],
)
def test_first_bytes_show_the_kind(ends: Ends, data: bytes, kind: str) -> None:
    assert ends.look(data)
    assert ends.connection.kind == kind


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02", b"QEV", b""])
def test_anything_else_goes_raw(ends: Ends, data: bytes) -> None:
    ends.source.sendall(data)
    if len(data) < 4:
        ends.source.shutdown(socket.SHUT_WR)
        ends.connection.look(ends.make_multifd)
    ends.connection.look(ends.make_multifd)
    assert ends.connection.channel == RAW
    ends.source.close()
    ends.connection.from_source.read()
    assert receive_all(ends.destination) == data


@pytest.mark.parametrize(
    ("onward", "expected"),
    [(UnixAddress("nobody-listens-here"), errno.ECONNREFUSED), (TcpAddress(port=1), 0)],
)
def test_destination_that_is_not_there(onward, expected: int) -> None:
    ours, peer = pair()
    pipe = Pipe()
    connection = Connection(0, ours, onward, pipe, Recorder(print), lambda _: None)
    if connection.connecting == errno.EINPROGRESS:
        assert connection.interest_of_source() == 0
        select.select([], [connection.destination], [], TIMEOUT_S)
        connection.finish_connecting()
        expected = errno.ECONNREFUSED
    assert connection.connecting == expected
    assert connection.is_refused
    assert not connection.must_retry
    connection.close(is_reset=True)
    connection.dispose()
    assert peer.recv(1) == b""
    peer.close()
    pipe.close()


def test_full_listener_is_tried_again() -> None:
    address = new_address()
    pipe = Pipe()
    with address.listen(0) as listener:
        pairs = [pair() for _ in range(3)]
        made = [
            Connection(number, ours, address, pipe, Recorder(print), lambda _: None)
            for number, (ours, _) in enumerate(pairs)
        ]
        waiting = [connection for connection in made if connection.must_retry]
        assert waiting
        assert not waiting[0].is_refused
        assert waiting[0].interest_of_destination() == 0
        for _ in range(len(made) - len(waiting)):
            listener.accept()[0].close()
        waiting[0].retry()
        assert waiting[0].connecting == 0
        assert waiting[0].to_destination.is_ready
    for connection in made:
        connection.close(is_reset=False)
        connection.dispose()
    for _, peer in pairs:
        peer.close()
    pipe.close()


def test_a_packet_waits_for_the_end_of_pages_that_are_on_their_way(ends: Ends) -> None:
    connection = ends.connection
    ends.look(hello(0) + ram()[:2000])
    connection.from_source.read()
    connection.deliver(packet(0))
    assert not ends.of(wire.PacketOut)
    ends.source.sendall(ram()[2000:])
    connection.from_source.read()
    assert len(ends.of(wire.PacketOut)) == 1
    connection.deliver(packet(1))
    connection.deliver_raw(b"raw")
    connection.end()
    packets = packet(0).pack() + packet(1).pack() + b"raw"
    assert receive_all(ends.destination) == hello(0) + ram() + packets
    connection.deliver(packet(2))
    connection.deliver_raw(b"late")
    assert [seen.body.idx for seen in ends.of(wire.PacketOut)] == [0, 1]
    assert [seen.body for seen in ends.of(wire.RawOut)] == [wire.RawOut(3)]
    assert [seen.body.idx for seen in ends.of(wire.PacketLost)] == [2]


def test_a_packet_that_waits_is_lost_when_the_connection_closes(ends: Ends) -> None:
    ends.look(hello(0) + ram()[:2000])
    ends.connection.from_source.read()
    ends.connection.deliver(packet(0))
    assert not ends.of(wire.PacketLost)
    ends.connection.close(is_reset=False)
    assert ends.of(wire.PacketLost)
    assert not ends.of(wire.PacketOut)


def test_end_passes_in_both_directions_and_then_it_is_closed(ends: Ends) -> None:
    connection = ends.connection
    ends.look(b"QEVM")
    ends.source.shutdown(socket.SHUT_WR)
    connection.from_source.read()
    connection.settle()
    assert [side for side, _ in connection.just_ended()] == [Side.SOURCE]
    assert not connection.is_closed
    assert ends.destination.recv(9) + ends.destination.recv(9) == b"QEVM"
    ends.destination.sendall(b"back")
    connection.from_destination.read()
    assert ends.source.recv(9) == b"back"
    ends.destination.close()
    connection.from_destination.read()
    connection.settle()
    assert [side for side, _ in connection.just_ended()] == [Side.DESTINATION]
    assert connection.just_ended() == []
    assert connection.is_closed
    connection.dispose()
    assert ends.source.recv(9) == b""


def test_destination_that_closes_makes_the_source_s_writing_fail(ends: Ends) -> None:
    connection = ends.connection
    ends.look(b"QEVM")
    connection.from_source.read()
    ends.destination.recv(9)
    ends.destination.close()
    connection.from_destination.read()
    connection.settle()
    assert not connection.from_source.is_open
    with pytest.raises(BrokenPipeError):
        ends.source.send(b"x")


def test_source_that_closes_makes_the_destination_s_writing_fail(ends: Ends) -> None:
    connection = ends.connection
    ends.look(b"QEVM")
    ends.source.close()
    connection.from_source.read()
    connection.settle()
    with pytest.raises(BrokenPipeError):
        ends.destination.send(b"x")


def test_reset_is_passed_on(tcp_ends: Ends) -> None:
    connection = tcp_ends.connection
    tcp_ends.look(b"QEVM")
    tcp_ends.source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    tcp_ends.source.close()
    select.select([connection.source], [], [], TIMEOUT_S)
    connection.from_source.read()
    assert connection.from_source.is_reset
    connection.settle()
    assert connection.is_closed
    connection.dispose()
    with pytest.raises(ConnectionResetError):
        receive_all(tcp_ends.destination)


def test_half_close_over_tcp(tcp_ends: Ends) -> None:
    tcp_ends.look(b"QEVM")
    tcp_ends.source.shutdown(socket.SHUT_WR)
    select.select([tcp_ends.connection.source], [], [], TIMEOUT_S)
    tcp_ends.connection.from_source.read()
    tcp_ends.connection.settle()
    assert receive_all(tcp_ends.destination) == b"QEVM"
    assert not tcp_ends.connection.is_closed


def test_breaking_off_sends_what_is_held_and_closes_both_ends(ends: Ends) -> None:
    connection = ends.connection
    ends.look(b"QEVM")
    connection.from_source.read()
    size = fill(connection.destination)
    connection.to_destination.write(b"held")
    connection.break_off(is_abrupt=False)
    connection.settle()
    assert not connection.is_closed
    assert ends.source.recv(9) == b""
    with pytest.raises(BrokenPipeError):
        ends.source.send(b"x")
    received = b""
    while len(received) < size + 8:
        received += ends.destination.recv(1 << 20)
        connection.to_destination.flush()
    assert received.endswith(b"held")
    connection.settle()
    assert connection.is_closed
    assert len(connection.just_ended()) == 2


def test_breaking_off_abruptly_is_over_at_once(ends: Ends) -> None:
    ends.look(b"QEVM")
    ends.connection.break_off(is_abrupt=True)
    assert ends.connection.is_closed
    ends.connection.deliver(packet(0))
    assert ends.of(wire.PacketLost)
    assert not ends.of(wire.PacketOut)
    ends.connection.dispose()
    assert ends.source.recv(1) == b""


def test_interests_follow_what_can_be_done(ends: Ends) -> None:
    connection = ends.connection
    read, write = 1, 2
    assert connection.interest_of_source() == read
    assert connection.interest_of_destination() == read
    fill(connection.destination)
    connection.to_destination.write(b"held")
    assert connection.interest_of_source() == 0
    assert connection.interest_of_destination() == read | write
    fill(connection.source)
    connection.to_source.write(b"held")
    assert connection.interest_of_source() == write
    assert connection.interest_of_destination() == write
    connection.close(is_reset=False)
    assert connection.interest_of_source() == connection.interest_of_destination() == 0


def test_paused_forwarder_is_of_no_interest(ends: Ends) -> None:
    assert isinstance(ends.connection.from_source, Forwarder)
    ends.connection.from_source.pause(True)
    assert ends.connection.interest_of_source() == 0
