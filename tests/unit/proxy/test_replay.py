"""A replay's peer is a destination that the test plays."""

import random
import select
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.history import wire
from harness.proxy.address import Address, TcpAddress
from harness.proxy.chain import build
from harness.proxy.events import MAIN
from harness.proxy.relay import Relay
from harness.proxy.replay import Replayer, ReturnPath
from harness.scenario import Scenario
from tests.unit.proxy.captures import SCENARIO, make
from tests.unit.proxy.playbook import packet
from tests.unit.proxy.streams import SYNC, TIMEOUT_S, hello, new_address, ram, receive, receive_all

PONG = struct.pack(">HHI", 2, 4, 1)
SHUT = struct.pack(">HHI", 1, 4, 0)
NO_RETURN_PATH = msgspec.structs.replace(SCENARIO, return_path=False)


def _streams(channels: int, size: int = 3 << 20) -> dict[int, bytes]:
    rng = random.Random(channels)
    made = {MAIN: b"QEVM" + rng.randbytes(size)}
    for channel in range(channels):
        state = packet(channel, rng.randbytes(size // 4)).pack()
        made[channel] = hello(channel) + SYNC + ram() + state + SYNC
    return made


STREAMS = _streams(4)


class Destination:
    """A listener, a replay to it, and the connections in the order in which they came."""

    def __init__(
        self, path: Path, streams: dict[int, bytes], scenario: Scenario, tcp: bool
    ) -> None:
        self.streams = streams
        listen: Address = TcpAddress() if tcp else new_address()
        self.listener = listen.listen()
        self.listener.settimeout(TIMEOUT_S)
        self.ends = 0
        self.sockets: list[socket.socket] = []
        capture = make(path, streams, scenario)
        self.address = listen.bound(self.listener)
        self.replay = Replayer(capture, self.address, self._ended)

    def _ended(self) -> None:
        self.ends += 1

    def accept(self) -> list[socket.socket]:
        """All connections; the main channel's is the first."""
        self.replay.start()
        for _ in self.streams:
            sock, _ = self.listener.accept()
            sock.settimeout(TIMEOUT_S)
            self.sockets.append(sock)
        return self.sockets

    def close(self) -> None:
        self.replay.close()
        for sock in (self.listener, *self.sockets):
            sock.close()


@pytest.fixture
def new_destination(tmp_path: Path) -> Iterator[Callable[..., Destination]]:
    made = []

    def make_one(
        streams: dict[int, bytes] = STREAMS, scenario: Scenario = SCENARIO, *, tcp: bool = False
    ) -> Destination:
        made.append(Destination(tmp_path / "run.capture", streams, scenario, tcp))
        return made[-1]

    yield make_one
    for destination in made:
        destination.close()


def _assert_ended_well(destination: Destination) -> None:
    replay = destination.replay
    assert replay.wait(TIMEOUT_S)
    replay.close()
    assert replay.failure is None
    assert replay.refused == ""
    assert replay.is_complete
    assert replay.sent == {channel: len(data) for channel, data in destination.streams.items()}
    assert destination.ends == 1


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize("channels", [0, 1, 4, 16])
def test_every_byte_arrives_and_all_stays_open_until_the_answer(
    new_destination, tcp: bool, channels: int
) -> None:
    destination = new_destination(_streams(channels), tcp=tcp)
    sockets = destination.accept()
    sizes = [len(data) for data in destination.streams.values()]
    with ThreadPoolExecutor(len(sockets)) as pool:
        assert list(pool.map(receive, sockets, sizes)) == list(destination.streams.values())
    main = sockets[0]
    main.sendall(PONG)
    for sock in sockets:
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)
        sock.settimeout(TIMEOUT_S)
    main.sendall(SHUT)
    assert all(sock.recv(1) == b"" for sock in sockets)
    _assert_ended_well(destination)
    assert destination.replay.return_path.shut == 0
    assert destination.replay.return_path.size == len(PONG + SHUT)


def test_a_channel_that_waits_does_not_stop_the_others(new_destination) -> None:
    destination = new_destination(_streams(3, 8 << 20))
    main, *channels = destination.accept()
    for number in (2, 0, 1):
        data = destination.streams[number]
        assert receive(channels[number], len(data)) == data
    assert destination.replay.sent[MAIN] < len(destination.streams[MAIN])
    assert receive(main, len(destination.streams[MAIN])) == destination.streams[MAIN]
    main.sendall(SHUT)
    _assert_ended_well(destination)


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
def test_without_a_return_path_it_ends_when_all_is_sent(new_destination, tcp: bool) -> None:
    destination = new_destination({MAIN: b"QEVM", 0: hello(0) + SYNC}, NO_RETURN_PATH, tcp=tcp)
    sockets = destination.accept()
    assert [receive_all(sock) for sock in sockets] == list(destination.streams.values())
    _assert_ended_well(destination)
    assert destination.replay.return_path.shut is None


def test_destination_that_ends_without_an_answer_ends_it_too(new_destination) -> None:
    destination = new_destination({MAIN: b"QEVM", 0: hello(0)})
    main, channel = destination.accept()
    assert receive(main, 4) + receive(channel, 64) == b"QEVM" + hello(0)
    main.close()
    assert channel.recv(1) == b""
    _assert_ended_well(destination)
    assert destination.replay.return_path.shut is None


def test_channel_that_ends_behind_its_last_byte_ends_nothing(new_destination) -> None:
    destination = new_destination({MAIN: b"QEVM", 0: hello(0)})
    main, channel = destination.accept()
    assert receive(channel, 64) == hello(0)
    channel.close()
    assert receive(main, 4) == b"QEVM"
    main.sendall(PONG)
    assert not destination.replay.wait(0.05)
    main.sendall(SHUT)
    _assert_ended_well(destination)


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize("number", [0, 2])
def test_channel_that_is_ended_too_early_ends_all(new_destination, tcp, number: int) -> None:
    destination = new_destination(_streams(3, 20 << 20), tcp=tcp)
    sockets = destination.accept()
    sockets[number].close()
    replay = destination.replay
    assert replay.wait(TIMEOUT_S)
    name = "main channel" if number == 0 else "channel 1"
    assert replay.refused.startswith(f"{name}, byte {replay.sent[number - 1]}: ")
    assert not replay.is_complete
    assert replay.failure is None
    for sock, sent in zip(sockets, replay.sent.values(), strict=True):
        if sock is not sockets[number]:
            assert len(receive_all(sock)) == sent


def test_no_listener(new_destination) -> None:
    destination = new_destination()
    destination.listener.close()
    destination.replay.start()
    assert destination.replay.wait(TIMEOUT_S)
    assert destination.replay.refused == "main channel, byte 0: Connection refused"
    assert destination.replay.failure is None


def test_listener_with_a_short_queue_is_tried_again(new_destination) -> None:
    destination = new_destination({MAIN: b"QEVM", **{n: hello(n) for n in range(6)}})
    destination.listener.listen(0)
    sockets = destination.accept()
    assert [receive(sock, 64) for sock in sockets[1:]] == [hello(n) for n in range(6)]
    sockets[0].sendall(SHUT)
    _assert_ended_well(destination)


def test_it_plays_through_a_relay(new_destination) -> None:
    destination = new_destination()
    seen = []
    listen = new_address()
    relay = Relay(listen, destination.address, build([], 0), seen.append)
    relay.start()
    destination.replay._address = relay.address
    sockets = destination.accept()
    for sock, data in zip(sockets, destination.streams.values(), strict=True):
        assert receive(sock, len(data)) == data
    sockets[0].sendall(SHUT)
    _assert_ended_well(destination)
    relay.close()
    assert relay.failure is None
    assert len([s for s in seen if isinstance(s.body, wire.PacketIn)]) == 4


def test_it_is_broken_off(new_destination) -> None:
    destination = new_destination(_streams(2, 20 << 20))
    destination.accept()
    destination.replay.close()
    destination.replay.close()
    assert destination.replay.refused == ""
    assert destination.replay.failure is None
    assert not destination.replay.is_complete
    assert destination.ends == 1


def test_it_is_broken_off_while_it_connects(new_destination) -> None:
    destination = new_destination()
    destination.listener.listen(0)
    destination.replay.start()
    assert select.select([destination.listener], [], [], TIMEOUT_S)[0]
    destination.replay.close()
    assert destination.replay.refused == ""


def test_replay_that_was_never_started_is_closed_too(new_destination) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    destination = new_destination()
    destination.close()
    assert destination.ends == 0
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_capture_without_a_main_channel_is_refused(tmp_path: Path) -> None:
    capture = make(tmp_path / "run.capture", {0: hello(0)})
    with pytest.raises(UsageError, match="no data of the main channel"):
        Replayer(capture, TcpAddress())


# -- return path -------------------------------------------------------------------------


@given(
    before=st.lists(st.tuples(st.integers(2, 7), st.binary(max_size=20)), max_size=5),
    value=st.integers(0, 2**32 - 1),
    cuts=st.lists(st.integers(1, 10), max_size=20),
)
def test_shut_is_found_behind_any_messages_however_cut(before, value: int, cuts) -> None:
    path = ReturnPath()
    data = b"".join(struct.pack(">HH", kind, len(body)) + body for kind, body in before)
    data += struct.pack(">HHI", 1, 4, value)
    for cut in cuts:
        path.feed(data[path.size : min(path.size + cut, len(data) - 1)])
        assert path.shut is None
    path.feed(data[path.size :])
    assert path.shut == value
    assert path.size == len(data)
