"""What comes from the source is given by channel, in order, and none of it twice."""

import socket

import pytest

from harness.proxy.connection import RAW, UNKNOWN
from harness.proxy.events import MAIN
from harness.proxy.tapped import TappedSocket
from tests.unit.proxy.streams import TIMEOUT_S, pair


class Tapped:
    """A tapped socket, its peer, and what was given."""

    def __init__(self) -> None:
        self.channel = UNKNOWN
        self.given: list[tuple[int, bytes]] = []
        ours, self.peer = pair()
        self.sock = TappedSocket(
            ours, lambda *given: self.given.append(given), lambda: self.channel
        )

    def receive(self, data: bytes, flags: int = 0) -> None:
        self.peer.sendall(data)
        assert self.sock.recv(len(data), flags) == data


@pytest.fixture
def tapped():
    made = Tapped()
    yield made
    made.sock.close()
    made.peer.close()


def test_it_takes_the_place_of_the_socket() -> None:
    ours, peer = pair()
    number = ours.fileno()
    tapped = TappedSocket(ours, lambda *_: None, lambda: MAIN)
    assert ours.fileno() == -1
    assert tapped.fileno() == number
    assert (tapped.family, tapped.type) == (socket.AF_UNIX, socket.SOCK_STREAM)
    tapped.close()
    peer.settimeout(TIMEOUT_S)
    assert peer.recv(1) == b""
    peer.close()


def test_each_piece_is_given_with_its_channel(tapped: Tapped) -> None:
    for channel in (MAIN, 0, 255):
        tapped.channel = channel
        tapped.receive(b"piece")
    assert tapped.given == [(MAIN, b"piece"), (0, b"piece"), (255, b"piece")]


def test_what_is_only_looked_at_is_not_given(tapped: Tapped) -> None:
    tapped.channel = 1
    tapped.receive(b"twice", socket.MSG_PEEK)
    assert not tapped.given
    assert tapped.sock.recv(3) == b"twi"
    assert tapped.sock.recv(3) == b"ce"
    assert tapped.given == [(1, b"twi"), (1, b"ce")]


def test_first_bytes_are_kept_until_the_channel_is_known(tapped: Tapped) -> None:
    tapped.receive(b"QE")
    tapped.receive(b"VM")
    tapped.sock.give()
    assert not tapped.given
    tapped.channel = MAIN
    tapped.sock.give()
    tapped.sock.give()
    assert tapped.given == [(MAIN, b"QEVM")]
    tapped.receive(b"rest")
    assert tapped.given == [(MAIN, b"QEVM"), (MAIN, b"rest")]


def test_end_gives_nothing(tapped: Tapped) -> None:
    tapped.channel = MAIN
    tapped.peer.shutdown(socket.SHUT_WR)
    assert tapped.sock.recv(10) == b""
    assert not tapped.given


@pytest.mark.parametrize("channel", [UNKNOWN, RAW])
def test_of_what_is_no_migration_channel_nothing_is_kept(tapped: Tapped, channel: int) -> None:
    tapped.receive(bytes(40))
    tapped.channel = channel
    tapped.receive(bytes(40))
    tapped.channel = 3
    tapped.sock.give()
    assert not tapped.given


def test_tap_that_fails_is_not_given_the_same_again() -> None:
    calls = []

    def fail(channel: int, data: bytes) -> None:
        calls.append((channel, data))
        raise ZeroDivisionError

    ours, peer = pair()
    with TappedSocket(ours, fail, lambda: 0) as tapped, peer:
        peer.sendall(b"x")
        with pytest.raises(ZeroDivisionError):
            tapped.recv(1)
        tapped.give()
    assert calls == [(0, b"x")]
