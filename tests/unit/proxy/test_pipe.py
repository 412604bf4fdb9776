"""Splicing from socket to socket."""

import os
from collections.abc import Iterator

import pytest

from harness.proxy.pipe import Pipe
from tests.unit.proxy.streams import fill, pair, receive


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


@pytest.mark.parametrize("size", [1, 4096, 100_000])
def test_bytes_go_through_as_they_are(pipe: Pipe, size: int) -> None:
    data = os.urandom(size)
    (origin, writer), (sink, reader) = pair(), pair()
    with origin, writer, sink, reader:
        writer.sendall(data)
        passed = b""
        while len(passed) < size:
            taken = pipe.take(origin, size)
            assert pipe.give(sink, taken) == b""
            passed += receive(reader, taken)
        assert passed == data


def test_no_more_is_taken_than_was_asked_for(pipe: Pipe) -> None:
    (origin, writer), (sink, reader) = pair(), pair()
    with origin, writer, sink, reader:
        writer.sendall(b"abcdef")
        assert pipe.take(origin, 4) == 4
        pipe.give(sink, 4)
        assert reader.recv(9) == b"abcd"
        assert origin.recv(9) == b"ef"


def test_what_a_full_sink_does_not_take_comes_back(pipe: Pipe) -> None:
    (origin, writer), (sink, reader) = pair(), pair()
    with origin, writer, sink, reader:
        before = fill(sink)
        writer.sendall(b"x" * 50_000)
        taken = pipe.take(origin, 50_000)
        rest = pipe.give(sink, taken)
        received = receive(reader, before + taken - len(rest))[before:]
        assert received + rest == b"x" * taken
        writer.sendall(b"next")
        assert pipe.give(sink, pipe.take(origin, 9999)) == b"", "nothing of it is left behind"


def test_origin_s_end_is_nothing_taken(pipe: Pipe) -> None:
    origin, writer = pair()
    with origin:
        writer.close()
        assert pipe.take(origin, 10) == 0


def test_empty_origin_does_not_block(pipe: Pipe) -> None:
    origin, writer = pair()
    with origin, writer, pytest.raises(BlockingIOError):
        pipe.take(origin, 10)


def test_sink_that_is_gone_costs_what_was_taken_and_no_more(pipe: Pipe) -> None:
    (origin, writer), (sink, reader) = pair(), pair()
    with origin, writer, sink:
        reader.close()
        writer.sendall(b"lost")
        with pytest.raises(BrokenPipeError):
            pipe.give(sink, pipe.take(origin, 10))
        (other, other_reader) = pair()
        with other, other_reader:
            writer.sendall(b"next")
            pipe.give(other, pipe.take(origin, 10))
            assert other_reader.recv(10) == b"next"
