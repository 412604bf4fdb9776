"""The main channel is read as it passes, and can be stopped at the switchover."""

import gzip
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.errors import WireError
from harness.proxy.main_flow import MainFlow
from harness.proxy.outlet import Outlet
from harness.proxy.pipe import Pipe
from harness.wire.main_channel import Command, MainEvent, Section, SectionKind, StateEnd
from tests.unit.proxy.streams import pair, receive, receive_all

SAMPLES = Path(__file__).parents[2] / "data" / "main-channel"
STREAM = gzip.decompress(sorted(SAMPLES.glob("*.gz"))[0].read_bytes())
STATE = STREAM[: STREAM.index(b'{"configuration"')]
"""Without the description at its end: a socket's buffer has room for it."""


class Ends:
    """A flow from ``writer`` to ``reader``, and what it tells."""

    def __init__(self) -> None:
        self.origin, self.writer = pair()
        self.sink, self.reader = pair()
        self.pipe = Pipe()
        self.outlet = Outlet(self.sink, self.pipe, lambda: None)
        self.flow = MainFlow(self.origin, self.outlet, lambda: None, "source", self)
        self.events: list[MainEvent] = []
        self.damages: list[str] = []
        self.on_switchover: Callable[[], None] = lambda: None
        self.on_passed: Callable[[], None] = lambda: None
        self.passed_at = -1

    def main_event(self, event: MainEvent) -> None:
        self.events.append(event)
        if isinstance(event, Command) and event.is_switchover:
            self.on_switchover()

    def switchover_passed(self) -> None:
        self.passed_at = self.outlet.sent
        self.on_passed()

    def damaged(self, error: WireError) -> None:
        self.damages.append(str(error))

    def pass_on(self, data: bytes, cuts: int = 0) -> bytes:
        """Send ``data``, in pieces if ``cuts``, and let it flow; what comes out."""
        rng = random.Random(cuts)
        out = b""
        while data:
            size = rng.randint(1, cuts) if cuts else 10_000
            self.writer.sendall(data[:size])
            data = data[size:]
            before = self.outlet.sent
            self.flow.read()
            out += receive(self.reader, self.outlet.sent - before)
        return out

    def offset_of_switchover(self) -> int:
        (offset,) = [
            event.offset
            for event in self.events
            if isinstance(event, Command) and event.is_switchover
        ]
        return offset

    def close(self) -> None:
        for sock in (self.origin, self.writer, self.sink, self.reader):
            sock.close()
        self.pipe.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


@pytest.mark.parametrize("cuts", [0, 50, 3000])
def test_every_byte_passes_as_it_comes_and_is_read(ends: Ends, cuts: int) -> None:
    assert ends.pass_on(STREAM, cuts) == STREAM
    kinds = [type(event) for event in ends.events]
    assert kinds.index(Command) < kinds.index(StateEnd)
    assert any(isinstance(e, Section) and e.kind is SectionKind.FULL for e in ends.events)
    assert ends.damages == []
    ends.writer.close()
    ends.flow.read()
    assert receive_all(ends.reader) == b""
    assert ends.damages == []


@pytest.mark.parametrize("cuts", [0, 50])
def test_switchover_is_told_before_and_behind_its_command(ends: Ends, cuts: int) -> None:
    sent = []
    ends.on_switchover = lambda: sent.append(ends.outlet.sent)
    ends.pass_on(STREAM, cuts)
    offset = ends.offset_of_switchover()
    # In small pieces, the first bytes of the command may have gone before it was whole.
    assert offset <= sent[0] < offset + 5
    assert ends.passed_at == offset + 5
    if not cuts:
        assert sent == [offset]


def test_paused_before_the_switchover_it_keeps_the_command(ends: Ends) -> None:
    ends.on_switchover = lambda: ends.flow.pause(True)
    out = ends.pass_on(STATE)
    offset = ends.offset_of_switchover()
    assert out == STATE[:offset]
    assert ends.passed_at == -1
    assert not ends.flow.wants_more
    ends.flow.pause(False)
    ends.flow.read()
    assert receive(ends.reader, len(STATE) - offset) == STATE[offset:]
    assert ends.passed_at == offset + 5
    assert any(isinstance(event, StateEnd) for event in ends.events)


def test_paused_behind_the_switchover_it_keeps_the_rest(ends: Ends) -> None:
    ends.on_passed = lambda: ends.flow.pause(True)
    out = ends.pass_on(STATE)
    behind = ends.offset_of_switchover() + 5
    assert out == STATE[:behind]
    assert not any(isinstance(event, StateEnd) for event in ends.events)
    ends.flow.pause(False)
    ends.flow.read()
    assert receive(ends.reader, len(STATE) - behind) == STATE[behind:]


def test_paused_and_resumed_at_once_it_keeps_nothing(ends: Ends) -> None:
    def pause() -> None:
        ends.flow.pause(True)
        ends.flow.pause(False)

    ends.on_switchover = ends.on_passed = pause
    assert ends.pass_on(STREAM) == STREAM
    assert ends.passed_at == ends.offset_of_switchover() + 5


def test_damage_is_told_once_and_everything_goes_on(ends: Ends) -> None:
    damaged = STREAM[:2] + b"\xff" + STREAM[3:]
    assert ends.pass_on(damaged) == damaged
    (what,) = ends.damages
    assert what.startswith("source, byte 0: magic")
    assert ends.events == []


def test_end_before_the_end_of_the_state_is_no_damage(ends: Ends) -> None:
    assert ends.pass_on(STREAM[:5000]) == STREAM[:5000]
    ends.writer.close()
    ends.flow.read()
    assert not ends.flow.is_open
    assert receive_all(ends.reader) == b""
    assert ends.damages == []
