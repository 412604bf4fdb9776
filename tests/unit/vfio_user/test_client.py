"""What a client does with a server, right or wrong: it never waits forever, and never guesses."""

import errno
import os
import socket
import struct
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import DeviceLost
from harness.vfio_user.client import Client
from harness.vfio_user.connection import Connection
from harness.vfio_user.messages import (
    MOST_DATA,
    Command,
    DmaAccess,
    Flag,
    Header,
    MigData,
    RegionAccess,
    Version,
    message,
)


class Scripted:
    """A server that sends what it is told, whatever it is asked."""

    def __init__(self, *replies, limit_s=10.0):
        self._raw, end = socket.socketpair()
        self.client = Client("a", Connection(end), limit_s)
        self.received = []
        self._replies = replies
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        connection = Connection(self._raw)
        try:
            for reply in self._replies:
                received = connection.receive()
                self.received.append((received.header, received.payload))
                data = reply(received.header) if callable(reply) else reply
                self._raw.setblocking(True)
                self._raw.sendall(data)
                self._raw.setblocking(False)
            connection.receive()
        except (OSError, ValueError):
            pass

    def close(self):
        self.client.close()
        self._thread.join(10)
        self._raw.close()


@pytest.fixture
def scripted():
    made = []

    def make(*replies, **settings):
        made.append(Scripted(*replies, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


def reply(payload=b"", *, flags=Flag.REPLY, errno=0):
    return lambda header: message(header.number, header.command, payload, flags, errno)


def refusal(number):
    return reply(flags=Flag.REPLY | Flag.ERROR, errno=number)


def asked(client, command=Command.DEVICE_RESET):
    """The errno of one call."""
    with pytest.raises(OSError) as caught:
        client.ask(command)
    return caught.value.errno


def test_versions_and_limits_are_agreed_on(scripted):
    client = scripted(reply(Version(0, 0, 4096, 3).pack())).client
    client.negotiate()
    assert (client.most_data, client.most_fds) == (4096, 3)
    assert client.failure is None


@pytest.mark.parametrize("version", [Version(1, 0), Version(0, 2)])
def test_server_of_another_version_is_lost(scripted, version):
    client = scripted(reply(version.pack())).client
    with pytest.raises(OSError, match="it speaks version"):
        client.negotiate()
    assert isinstance(client.failure, DeviceLost)


def test_error_of_the_server_is_that_of_the_call_and_no_more(scripted):
    client = scripted(refusal(errno.ENOMEM), refusal(0), reply(b"x")).client
    assert asked(client) == errno.ENOMEM
    assert asked(client) == errno.EIO, "no errno"
    assert client.ask(Command.DEVICE_RESET) == b"x"
    assert client.failure is None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "has not answered DEVICE_RESET within 0.05 s"),
        (lambda h: message(h.number, h.command, b"abc", Flag.REPLY)[:-1], "has not answered"),
        (lambda h: message(h.number ^ 1, h.command, b"", Flag.REPLY), "DEVICE_RESET number 0"),
        (lambda h: message(h.number, Command.VERSION, b"", Flag.REPLY), "reply to VERSION"),
        (struct.pack("<HHIII", 1, 13, 3, 1, 0), "DEVICE_RESET with a size of 3 bytes"),
        (struct.pack("<HHIII", 1, 13, 2**32 - 1, 1, 0), "a size of 4294967295 bytes"),
    ],
)
def test_server_that_breaks_the_protocol_is_lost_with_one_line(scripted, answer, words):
    client = scripted(answer, limit_s=0.05 if "has not" in words else 10).client
    assert asked(client) == errno.EIO
    said = str(client.failure)
    assert said.startswith("a: the vfio-user server is lost: it ")
    assert words in said
    assert "\n" not in said


def test_server_that_ends_is_lost_and_is_asked_no_more(pair):
    client = pair("source", {"command": "DEVICE_RESET", "does": "die"}).client
    assert asked(client) == errno.EIO
    said = str(client.failure)
    assert said == "a: the vfio-user server is lost: it ended the connection at DEVICE_RESET"
    assert asked(client, Command.VERSION) == errno.EIO
    assert str(client.failure) == said, "the first reason"


def test_call_that_waits_is_seen_from_outside(pair):
    pair_ = pair("source", {"command": "DEVICE_RESET", "does": "stall"})
    waiter = threading.Thread(target=asked, args=(pair_.client,))
    waiter.start()
    while not pair_.client.is_asking:
        pass
    pair_.client.end()
    waiter.join(10)
    assert not pair_.client.is_asking


def test_descriptors_that_nobody_needs_are_closed(pair, open_fds):
    client = pair("source", {"command": "DEVICE_RESET", "does": "send_fds"}).client
    before = open_fds()
    client.ask(Command.DEVICE_RESET)
    assert open_fds() == before


def test_large_regions_take_several_messages(pair):
    pair_ = pair(bar_size=1 << 22)
    data = os.urandom(2 * MOST_DATA + 5)
    pair_.client.region_write(0, 3, data)
    assert pair_.client.region_read(0, 3, len(data)) == data
    assert pair_.server.target.asked == {"REGION_WRITE": 3, "REGION_READ": 3}


def test_state_that_is_longer_than_asked_for_is_damage(scripted):
    client = scripted(reply(MigData(11, bytes(11)).pack())).client
    with pytest.raises(OSError, match="11 bytes of state, and 10 were asked for"):
        client.read_state(10)


def test_padding_behind_state_is_no_state(scripted):
    client = scripted(
        reply(MigData(3, b"abc").pack() + b"padding"), reply(MigData(0).pack())
    ).client
    assert client.read_state(10) == b"abc"
    assert client.read_state(10) == b""


def test_region_of_another_length_is_damage(scripted):
    client = scripted(reply(RegionAccess(0, 0, 3, b"abc").pack())).client
    with pytest.raises(OSError, match="3 bytes of 4"):
        client.region_read(0, 0, 4)


def test_server_gets_the_memory_that_it_asks_for(scripted):
    read = message(77, Command.DMA_READ, DmaAccess(0x1000, 4).pack())
    write = message(78, Command.DMA_WRITE, DmaAccess(0x2000, 2, b"xy").pack())
    bad = message(79, Command.DMA_READ, DmaAccess(0x9000, 4).pack())
    posted = message(80, Command.DMA_WRITE, DmaAccess(0, 1, b"z").pack(), Flag.NO_REPLY)
    replies = []
    server = scripted(read, write, bad, lambda h: posted + reply(b"done")(Header(1, 13, 16)))
    written = {}

    def read_dma(address, count):
        if address != 0x1000:
            raise OSError(errno.EFAULT, "")
        return b"abcdefgh"[:count]

    server.client.read_dma = read_dma
    server.client.write_dma = written.__setitem__
    assert server.client.ask(Command.DEVICE_RESET) == b"done"
    replies = server.received[1:]
    assert [header.number for header, _ in replies] == [77, 78, 79]
    assert replies[0][1] == DmaAccess(0x1000, 4, b"abcd").pack()
    assert replies[1][1] == DmaAccess(0x2000, 2).pack()
    assert (replies[2][0].errno, replies[2][0].is_error) == (errno.EFAULT, True)
    assert written == {0x2000: b"xy", 0: b"z"}


@settings(deadline=None, max_examples=60)
@given(
    answer=st.binary(max_size=80)
    | st.builds(
        lambda payload, flags, number, command: message(number, command, payload, flags),
        st.binary(max_size=60),
        st.integers(0, 0x3F),
        st.integers(0, 2),
        st.sampled_from([1, 9, 11, 12, 17]),
    ),
    call=st.sampled_from(["negotiate", "region_read", "read_state"]),
)
def test_any_answer_is_a_reply_or_loses_the_server(answer, call):
    """What a client raises is an OSError, whatever a server sends; and it ends in time."""
    server = Scripted(answer, limit_s=0.02)
    caught = None
    try:
        arguments = {"negotiate": (), "region_read": (0, 0, 4), "read_state": (4,)}[call]
        getattr(server.client, call)(*arguments)
    except OSError as error:
        caught = error
    finally:
        server.close()
    assert caught is None or caught.errno
    assert "\n" not in str(caught)
