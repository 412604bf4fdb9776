"""What goes out: in order, never blocking, and reported when it is out."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.proxy.outlet import LIMIT, Outlet
from harness.proxy.pipe import Pipe
from tests.unit.proxy.streams import fill, pair, receive_all


class Ends:
    """An outlet and its peer; counts what it says has changed."""

    def __init__(self) -> None:
        self.sock, self.peer = pair()
        self.pipe = Pipe()
        self.changes = 0
        self.outlet = Outlet(self.sock, self.pipe, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def close(self) -> None:
        self.sock.close()
        self.peer.close()
        self.pipe.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


def _until_sent(ends: Ends, size: int) -> bytes:
    received = b""
    while len(received) < size:
        received += ends.peer.recv(1 << 20)
        ends.outlet.flush()
    return received


def test_parts_go_in_order_and_are_counted(ends: Ends) -> None:
    ends.outlet.write(b"head", b"", b"data")
    ends.outlet.write(b"next")
    assert ends.peer.recv(99) == b"headdatanext"
    assert ends.outlet.sent == 12
    assert ends.changes == 0, "nothing was held"


def test_what_a_full_socket_does_not_take_is_held(ends: Ends) -> None:
    sent = []
    data = os.urandom(2 * LIMIT)
    ends.outlet.write(data, on_sent=lambda: sent.append("first"))
    ends.outlet.write(b"behind", on_sent=lambda: sent.append("second"))
    assert ends.outlet.held > LIMIT
    assert ends.outlet.is_full
    assert ends.changes == 1
    assert sent == []
    assert _until_sent(ends, len(data) + 6) == data + b"behind"
    assert sent == ["first", "second"]
    assert ends.outlet.held == 0
    assert ends.changes == 2


def test_nothing_to_send_is_reported_at_once_or_behind_what_is_held(ends: Ends) -> None:
    sent = []
    ends.outlet.write(on_sent=lambda: sent.append(1))
    assert sent == [1]
    size = fill(ends.sock)
    ends.outlet.write(b"held")
    ends.outlet.write(on_sent=lambda: sent.append(2))
    assert sent == [1]
    _until_sent(ends, size + 4)
    assert sent == [1, 2]


def test_end_waits_for_what_is_held(ends: Ends) -> None:
    size = fill(ends.sock)
    ends.outlet.write(b"last")
    ends.outlet.end()
    ends.outlet.write(b"too late")
    assert not ends.outlet.is_over
    assert ends.outlet.is_ending
    assert _until_sent(ends, size + 4).endswith(b"last")
    assert ends.peer.recv(1) == b""
    assert ends.outlet.is_over
    assert not ends.outlet.is_broken
    ends.peer.sendall(b"back")
    assert ends.sock.recv(9) == b"back", "the other direction is open"


def test_socket_that_is_not_connected_yet_is_waited_for(ends: Ends) -> None:
    ends.outlet.is_ready = False
    ends.outlet.write(b"early")
    ends.outlet.end()
    assert ends.outlet.held == 5
    ends.outlet.is_ready = True
    ends.outlet.flush()
    assert receive_all(ends.peer) == b"early"


@pytest.mark.parametrize("how", ["write", "splice", "end"])
def test_peer_that_is_gone_breaks_it(ends: Ends, how: str) -> None:
    sent, lost = [], []
    ends.peer.close()
    if how == "write":
        called = {"on_sent": lambda: sent.append(1), "on_lost": lambda: lost.append(1)}
        ends.outlet.write(b"lost", **called)
    elif how == "splice":
        origin, writer = pair()
        with origin, writer:
            writer.sendall(b"lost")
            assert ends.outlet.splice(origin, 10) == 4
    else:
        ends.outlet.end()
    assert ends.outlet.is_over
    assert ends.outlet.held == 0
    assert ends.changes >= 1
    assert not ends.outlet.is_reset
    assert sent == []
    assert lost == [1] * (how == "write")


@pytest.mark.parametrize("how", ["give up", "break"])
def test_what_was_held_is_reported_to_be_lost_and_so_is_what_comes_then(
    ends: Ends, how: str
) -> None:
    sent, lost = [], []

    def write(number: int) -> None:
        ends.outlet.write(
            b"x" * 9, on_sent=lambda: sent.append(number), on_lost=lambda: lost.append(number)
        )

    write(0)
    fill(ends.sock)
    write(1)
    write(2)
    if how == "give up":
        ends.outlet.give_up()
    else:
        ends.peer.close()
        ends.outlet.flush()
    write(3)
    assert (sent, lost) == ([0], [1, 2, 3])
    assert ends.outlet.held == 0
    assert ends.outlet.is_broken


def test_reset_is_reported_from_an_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sock = socket.create_connection(server.getsockname())
        peer, _ = server.accept()
    pipe = Pipe()
    outlet = Outlet(sock, pipe, lambda: None)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
    with sock:
        outlet.write(b"lost")
    pipe.close()
    assert outlet.is_broken
    assert outlet.is_reset


def test_splice_behind_what_is_held_keeps_the_order(ends: Ends) -> None:
    size = fill(ends.sock)
    ends.outlet.write(b"first ")
    origin, writer = pair()
    with origin, writer:
        writer.sendall(b"second")
        assert ends.outlet.splice(origin, 100) == 6
        assert ends.outlet.held == 12
        assert _until_sent(ends, size + 12).endswith(b"first second")


def test_splice_holds_what_a_full_socket_does_not_take(ends: Ends) -> None:
    size = fill(ends.sock)
    origin, writer = pair()
    with origin, writer:
        writer.sendall(b"y" * 50_000)
        taken = ends.outlet.splice(origin, 50_000)
        assert 0 < ends.outlet.held <= taken
        assert _until_sent(ends, size + taken)[size:] == b"y" * taken
        assert ends.outlet.sent == taken


@given(
    sizes=st.lists(st.integers(0, 300_000), max_size=12),
    reads=st.lists(st.integers(500, 200_000), min_size=1, max_size=12),
)
def test_any_sizes_come_out_in_order_and_each_is_reported_when_it_is_out(
    sizes: list[int], reads: list[int]
) -> None:
    with contextlib.closing(Ends()) as ends:
        _any_sizes(ends, sizes, reads)


def _any_sizes(ends: Ends, sizes: list[int], reads: list[int]) -> None:
    called: list[int] = []

    def call(number: int) -> Callable[[], None]:
        return lambda: called.append(number)

    data = [bytes([number]) * size for number, size in enumerate(sizes)]
    for number, part in enumerate(data):
        ends.outlet.write(part, on_sent=call(number))
    received = b""
    turn = 0
    while len(received) < sum(sizes):
        received += ends.peer.recv(reads[turn % len(reads)])
        ends.outlet.flush()
        turn += 1
    assert received == b"".join(data)
    assert called == list(range(len(sizes)))


def test_what_is_copied_is_received_of_the_origin(ends: Ends) -> None:
    class Origin:
        """Has no file descriptor: it cannot be spliced from."""

        def recv(self, size: int) -> bytes:
            return b"received"[:size]

    origin: Any = Origin()
    ends.outlet.is_copying = True
    assert ends.outlet.splice(origin, 4) == 4
    assert ends.outlet.splice(origin, 100) == 8
    assert ends.peer.recv(99) == b"recereceived"
    assert ends.outlet.sent == 12
