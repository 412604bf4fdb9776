"""Messages on a socket: none is cut, none is lost, and no descriptor is left open."""

import os
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from harness.vfio_user.connection import Closed, Connection
from harness.vfio_user.messages import Command, Flag, ProtocolError, message


def test_messages_arrive_one_by_one_with_their_descriptors(ends):
    ours, theirs = ends
    with Path(os.devnull).open("rb") as null:
        ours.send(1, Command.DMA_MAP, b"abc", fds=[null.fileno()] * 2)
    ours.send(2, Command.DEVICE_RESET, flags=Flag.REPLY | Flag.ERROR, errno=5)
    one, two = theirs.receive(), theirs.receive()
    assert (one.header.number, one.header.command, one.payload) == (1, Command.DMA_MAP, b"abc")
    assert [os.path.samestat(os.fstat(fd), Path(os.devnull).stat()) for fd in one.fds] == [True] * 2
    fds = list(one.fds)
    one.close_fds()
    for fd in fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    assert (two.header.is_error, two.header.errno, two.payload, two.fds) == (True, 5, b"", [])


def test_message_that_fits_no_buffer_arrives_complete(ends):
    ours, theirs = ends
    data = os.urandom(1 << 20)
    sender = threading.Thread(target=ours.send, args=(1, Command.MIG_DATA_WRITE, data))
    sender.start()
    assert theirs.receive().payload == data
    sender.join()


def test_message_in_single_bytes_is_one_message():
    raw, end = socket.socketpair()
    theirs = Connection(end)
    data = message(3, Command.REGION_READ, b"0123456789")

    def drip():
        for at in range(len(data)):
            raw.sendall(data[at : at + 1])

    sender = threading.Thread(target=drip)
    sender.start()
    received = theirs.receive()
    sender.join()
    assert received.payload == b"0123456789"
    raw.close()
    theirs.close()


def test_peer_that_sends_nothing_is_a_timeout(ends):
    with pytest.raises(TimeoutError):
        ends[0].receive(time.monotonic())


def test_peer_that_takes_nothing_is_a_timeout(ends):
    with pytest.raises(TimeoutError):
        ends[0].send(1, Command.MIG_DATA_WRITE, bytes(16 << 20), until=time.monotonic() + 0.05)


@pytest.mark.parametrize("sent", [b"", b"\0" * 7, message(1, 2, b"abc")[:-1]])
def test_connection_that_ends_in_a_message_is_closed(sent):
    raw, end = socket.socketpair()
    theirs = Connection(end)
    raw.sendall(sent)
    raw.close()
    with pytest.raises(Closed):
        theirs.receive()
    theirs.close()


def test_descriptors_of_a_message_that_is_refused_are_closed(open_fds):
    raw, end = socket.socketpair()
    theirs = Connection(end)
    before = open_fds()
    with Path(os.devnull).open("rb") as null:
        socket.send_fds(raw, [struct.pack("<HHIII", 1, 2, 3, 0, 0)], [null.fileno()] * 3)
    with pytest.raises(ProtocolError):
        theirs.receive()
    assert open_fds() == before
    raw.close()
    theirs.close()


def test_shut_down_ends_a_call_that_waits(ends):
    ended = []

    def wait():
        try:
            ends[0].receive()
        except Closed:
            ended.append(True)

    waiter = threading.Thread(target=wait)
    waiter.start()
    ends[0].shut_down()
    waiter.join(10)
    assert ended
