"""The main channel is read as it passes, and can be stopped at the switchover."""

import gzip
from pathlib import Path

import pytest

from harness.history import wire
from harness.proxy.events import MAIN, Notified
from harness.wire.main_channel import MainChannelReader, Section
from harness.wire.reader import NEED_DATA
from tests.unit.proxy.ends import Ends
from tests.unit.proxy.streams import receive

SAMPLES = Path(__file__).parents[2] / "data" / "main-channel"
STREAM = gzip.decompress((SAMPLES / "qemu-10.0.13.gz").read_bytes())
STATE = STREAM[: STREAM.index(b'{"configuration"')]
"""Without the description at its end: a socket's buffer has room for it."""
COMMAND_SIZE = 5
SECTIONS = [
    ("start", "0000:00:02.0/vfio", 16),
    ("start", "0000:00:03.0/vfio", 16),
    ("full", "0000:00:00.0/mch", 277),
    ("full", "0000:00:1f.0/ICH9LPC", 18878),
    ("full", "0000:00:1f.2/ich9_ahci", 4168),
    ("full", "0000:00:1f.3/ich9_smb", 325),
    ("full", "0000:00:02.0/vfio", 8),
    ("full", "0000:00:03.0/vfio", 8),
]


@pytest.fixture
def ends(new_ends) -> Ends:
    return new_ends("main")


def _switchover(ends: Ends) -> int:
    """Offset of its command."""
    (seen,) = ends.of(wire.Switchover)
    return seen.body.offset


@pytest.mark.parametrize("cuts", [0, 50, 3000])
def test_every_byte_passes_as_it_comes_and_is_read(ends: Ends, cuts: int) -> None:
    assert ends.pass_on(STREAM, cuts) == STREAM
    sections = ends.of(wire.MainSection)
    assert [(s.body.kind, s.body.idstr, s.body.size) for s in sections] == SECTIONS
    assert all((s.channel, s.device) == (MAIN, s.body.idstr) for s in sections)
    (end,) = ends.of(wire.MainEnd)
    assert _switchover(ends) < end.body.offset < len(STATE)
    assert ends.damages == []
    assert ends.end() == b""
    assert ends.damages == []


@pytest.mark.parametrize("cuts", [0, 50])
def test_chain_hears_of_the_switchover_before_and_behind_its_command(ends: Ends, cuts: int) -> None:
    sent = []
    ends.chain.on_notified = lambda _name: sent.append(ends.outlet.sent)
    ends.pass_on(STREAM, cuts)
    offset = _switchover(ends)
    assert ends.chain.notified == [
        Notified("switchover", offset),
        Notified("switchover_passed"),
        Notified("ram_passed"),
    ]
    # In small pieces, the first bytes of the command may have gone before it was complete.
    assert offset <= sent[0] < offset + COMMAND_SIZE
    assert sent[1] == offset + COMMAND_SIZE
    if not cuts:
        assert sent[0] == offset


def test_paused_before_the_switchover_it_keeps_the_command(ends: Ends) -> None:
    ends.chain.on_notified = lambda _name: ends.forwarder.pause(True)
    out = ends.pass_on(STATE)
    offset = _switchover(ends)
    assert out == STATE[:offset]
    assert [event.name for event in ends.chain.notified] == ["switchover"]
    assert not ends.forwarder.wants_more
    ends.chain.on_notified = lambda _name: None
    ends.forwarder.pause(False)
    ends.forwarder.read()
    assert receive(ends.reader, len(STATE) - offset) == STATE[offset:]
    assert [event.name for event in ends.chain.notified] == [
        "switchover",
        "switchover_passed",
        "ram_passed",
    ]
    assert ends.of(wire.MainEnd)


def test_paused_behind_ram_it_keeps_what_devices_have(ends: Ends) -> None:
    """All of RAM has gone, so no channel waits for the main channel any more."""

    def pause(name: str) -> None:
        if name == "ram_passed":
            ends.forwarder.pause(True)

    ends.chain.on_notified = pause
    out = ends.pass_on(STATE)
    reader = MainChannelReader("test")
    reader.feed(STATE)
    last = reader.next()
    while not (isinstance(last, Section) and last.is_last_of_ram):
        assert last is not NEED_DATA
        last = reader.next()
    assert out == STATE[: last.offset + last.size]
    ends.forwarder.pause(False)
    ends.forwarder.read()
    assert receive(ends.reader, len(STATE) - len(out)) == STATE[len(out) :]


def test_paused_behind_the_switchover_it_keeps_the_rest(ends: Ends) -> None:
    def pause(name: str) -> None:
        if name == "switchover_passed":
            ends.forwarder.pause(True)

    ends.chain.on_notified = pause
    out = ends.pass_on(STATE)
    behind = _switchover(ends) + COMMAND_SIZE
    assert out == STATE[:behind]
    assert not ends.of(wire.MainEnd)
    ends.forwarder.pause(False)
    ends.forwarder.read()
    assert receive(ends.reader, len(STATE) - behind) == STATE[behind:]


def test_paused_and_resumed_at_once_it_keeps_nothing(ends: Ends) -> None:
    def pause(_name: str) -> None:
        ends.forwarder.pause(True)
        ends.forwarder.pause(False)

    ends.chain.on_notified = pause
    assert ends.pass_on(STREAM) == STREAM
    assert len(ends.chain.notified) == 3


def test_damage_is_recorded_once_and_everything_goes_on(ends: Ends) -> None:
    damaged = STREAM[:2] + b"\xff" + STREAM[3:]
    assert ends.pass_on(damaged) == damaged
    (what,) = ends.damages
    assert what.startswith("source, main channel, byte 0: magic")
    assert len(ends.seen) == 1


def test_end_before_the_end_of_the_state_is_no_damage(ends: Ends) -> None:
    assert ends.pass_on(STREAM[:5000]) == STREAM[:5000]
    assert ends.end() == b""
    assert not ends.forwarder.is_open
    assert ends.damages == []
