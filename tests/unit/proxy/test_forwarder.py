"""One direction of a connection: pieces, ends, peers that are gone."""

import os
import socket
from collections.abc import Iterator

import pytest

from harness.proxy.forwarder import Forwarder
from harness.proxy.outlet import Outlet
from harness.proxy.pipe import Pipe
from tests.unit.proxy.streams import fill, pair, receive, receive_all


class Ends:
    """A forwarder from ``writer`` to ``reader``."""

    def __init__(self) -> None:
        self.origin, self.writer = pair()
        self.sink, self.reader = pair()
        self.pipe = Pipe()
        self.changes = 0
        self.outlet = Outlet(self.sink, self.pipe, lambda: None)
        self.forwarder = Forwarder(self.origin, self.outlet, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def close(self) -> None:
        for sock in (self.origin, self.writer, self.sink, self.reader):
            sock.close()
        self.pipe.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


def test_what_is_there_goes_on_as_it_is(ends: Ends) -> None:
    data = os.urandom(100_000)
    ends.writer.sendall(data)
    ends.forwarder.read()
    assert receive(ends.reader, len(data)) == data
    ends.forwarder.read()
    assert ends.forwarder.is_open, "nothing is no end"
    assert ends.changes == 0


def test_half_close_is_passed_on_and_the_other_half_is_left(ends: Ends) -> None:
    ends.writer.sendall(b"last")
    ends.writer.shutdown(socket.SHUT_WR)
    ends.forwarder.read()
    assert receive_all(ends.reader) == b"last"
    assert not ends.forwarder.is_open
    assert not ends.forwarder.is_gone
    assert ends.changes == 1


def test_peer_that_has_closed_is_gone(ends: Ends) -> None:
    ends.writer.close()
    ends.forwarder.read()
    assert not ends.forwarder.is_open
    assert ends.forwarder.is_gone
    assert not ends.forwarder.is_reset


def test_peer_that_closes_without_having_read_all_is_a_reset(ends: Ends) -> None:
    ends.origin.send(b"never read")
    ends.writer.close()
    ends.forwarder.read()
    assert ends.forwarder.is_gone
    assert ends.forwarder.is_reset


def test_nothing_is_read_while_the_outlet_holds_something(ends: Ends) -> None:
    size = fill(ends.sink)
    ends.outlet.write(b"held")
    ends.writer.sendall(b"waits")
    assert not ends.forwarder.wants_more
    ends.forwarder.read()
    assert ends.origin.recv(99, socket.MSG_PEEK) == b"waits"
    receive(ends.reader, size)
    ends.outlet.flush()
    ends.forwarder.read()
    assert receive(ends.reader, 9) == b"heldwaits"


def test_nothing_is_read_while_it_is_paused(ends: Ends) -> None:
    ends.writer.sendall(b"waits")
    ends.forwarder.pause(True)
    ends.forwarder.read()
    assert ends.outlet.sent == 0
    ends.forwarder.pause(False)
    ends.forwarder.read()
    assert ends.outlet.sent == 5
    assert ends.changes == 2


def test_one_connection_does_not_keep_the_others_waiting(ends: Ends) -> None:
    steps = []

    class Endless(Forwarder):
        def step(self) -> int:
            steps.append(1)
            return super().step() or 2

    ends.writer.close()
    Endless(ends.origin, ends.outlet, lambda: None).read()
    assert 1 < len(steps) < 100


def test_stopped_forwarder_makes_the_peer_s_writing_fail(ends: Ends) -> None:
    ends.forwarder.stop()
    assert not ends.forwarder.is_open
    with pytest.raises(BrokenPipeError):
        ends.writer.send(b"x")
