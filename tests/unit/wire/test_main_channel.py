"""Real streams and made ones, whole and byte by byte; where a body ends; damage; limits."""

import gzip
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import WireError
from harness.wire.main_channel import (
    CAPABILITIES_LIMIT,
    HELD_LIMIT,
    LOOK_AHEAD,
    MACHINE_LIMIT,
    STARTED_LIMIT,
    Command,
    CommandNumber,
    Description,
    Header,
    MainChannelReader,
    MainEvent,
    Section,
    SectionKind,
    StateEnd,
)
from harness.wire.reader import Need

SAMPLES = Path(__file__).parents[2] / "data" / "main-channel"
DATA = {path.stem: gzip.decompress(path.read_bytes()) for path in sorted(SAMPLES.glob("*.gz"))}
"""Main channels of two VFIO devices over multifd, by the source's build."""
IDSTR = "0000:00:02.0/vfio"


def _configuration(*subsections: bytes, machine: bytes = b"pc-q35-10.0") -> bytes:
    head = struct.pack(">4sIBI", b"QEVM", 3, 7, len(machine))
    return head + machine + b"".join(subsections)


def _subsection(name: bytes, fields: bytes) -> bytes:
    return struct.pack(">BB", 5, len(name)) + name + struct.pack(">I", 1) + fields


def _section(kind: int, section_id: int, body: bytes, idstr: str = IDSTR) -> bytes:
    data = struct.pack(">BI", kind, section_id)
    if kind in (SectionKind.START, SectionKind.FULL):
        data += struct.pack(">B", len(idstr)) + idstr.encode() + struct.pack(">II", 0, 1)
    return data + body + struct.pack(">BI", 0x7E, section_id)


def _command(number: int, data: bytes = b"") -> bytes:
    return struct.pack(">BHH", 8, number, len(data)) + data


START = _configuration()
EOF = b"\0"
RAM = _section(1, 1, b"ram", "ram")
SWITCHOVER = _command(11)
DESCRIPTION = b"\6" + struct.pack(">I", 7) + b'{"a":1}'


def _events(reader: MainChannelReader) -> list[MainEvent]:
    events: list[MainEvent] = []
    while not isinstance(event := reader.next(), Need):
        events.append(event)
    return events


def _read(data: bytes, piece: int = 1 << 20) -> list[MainEvent]:
    """All events of a whole channel, fed in pieces."""
    reader = MainChannelReader("source, main channel")
    events: list[MainEvent] = []
    for at in range(0, len(data), piece):
        reader.feed(data[at : at + piece])
        events += _events(reader)
        assert reader.buffered < HELD_LIMIT
    reader.close()
    assert reader.offset == len(data)
    return events


def _told(pieces: list[bytes]) -> list[MainEvent | str]:
    """All that is returned of a stream in pieces, and the damage, if there is any."""
    reader = MainChannelReader("source, main channel")
    found: list[MainEvent | str] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while not isinstance(event := reader.next(), Need):
                found.append(event)
        reader.close()
    except WireError as error:
        found.append(str(error))
    return found


def _sections(events: list[MainEvent]) -> list[Section]:
    return [event for event in events if isinstance(event, Section)]


# -- real streams ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "machine"), [("qemu-10.0.13", "pc-q35-10.0"), ("qemu-11.1.3", "pc-q35-11.1")]
)
def test_real_stream_is_what_its_own_description_says(build: str, machine: str) -> None:
    data = DATA[build]
    events = _read(data)
    assert events[0] == Header(machine, 24)
    description = events[-1]
    assert isinstance(description, Description)
    assert isinstance(events[-2], StateEnd)
    found = json.loads(data[description.offset + 5 :])
    assert len(data) == description.offset + 5 + description.size
    full = [s for s in _sections(events) if s.kind is SectionKind.FULL]
    assert len(full) > 20
    assert [(s.idstr, s.instance_id) for s in full] == [
        (device["name"], device["instance_id"]) for device in found["devices"]
    ]


@pytest.mark.parametrize("build", DATA)
def test_real_stream_has_its_phases_in_order(build: str) -> None:
    events = _read(DATA[build])
    commands = [event for event in events if isinstance(event, Command)]
    assert [command.number.name for command in commands] == [
        "OPEN_RETURN_PATH",
        "PING",
        "SWITCHOVER_START",
    ]
    at = events.index(commands[-1])
    assert commands[-1].is_switchover
    before, after = _sections(events[:at]), _sections(events[at:])
    iterable = ["ram", "0000:00:02.0/vfio", "0000:00:03.0/vfio"]
    assert [s.idstr for s in before if s.kind is SectionKind.START] == iterable
    assert {s.kind for s in before} == {SectionKind.START, SectionKind.PART}
    assert [s.idstr for s in after if s.kind is SectionKind.END] == iterable
    assert {s.kind for s in after} == {SectionKind.END, SectionKind.FULL}


@pytest.mark.parametrize("build", DATA)
def test_units_of_a_real_stream_lie_one_behind_the_other(build: str) -> None:
    at = 0
    for event in _read(DATA[build]):
        if isinstance(event, Header):
            at = event.size
            continue
        assert event.offset == at
        if isinstance(event, Section):
            at += event.size
        elif isinstance(event, StateEnd):
            at += 1
        else:
            at += 5 + event.size
    assert at == len(DATA[build])


@pytest.mark.parametrize("build", DATA)
def test_real_stream_byte_by_byte_gives_the_same_events(build: str) -> None:
    assert _read(DATA[build], piece=1) == _read(DATA[build])


@pytest.mark.parametrize("build", DATA)
def test_real_stream_that_is_cut_anywhere_is_not_complete(build: str) -> None:
    data = DATA[build]
    end = data.rindex(b"\0\6") + 1  # behind EOF: the description may be missing
    for size in (0, 3, 8, 12, 23, 24, 30, 100, 5000, end - 1, end + 1, end + 5, len(data) - 1):
        reader = MainChannelReader("source, main channel")
        reader.feed(data[:size])
        _events(reader)
        with pytest.raises(WireError, match="ends"):
            reader.close()
    _read(data[:end])


# -- units -------------------------------------------------------------------------------


def test_each_unit_is_returned_with_its_place() -> None:
    part, end = _section(2, 1, b"x" * 100), _section(3, 1, b"")
    data = START + _command(2, b"ping") + RAM + part + SWITCHOVER + end + EOF + DESCRIPTION
    at = len(START)
    assert _read(data) == [
        Header("pc-q35-10.0", at),
        Command(CommandNumber.PING, at, 4),
        Section(SectionKind.START, 1, "ram", 0, 1, at + 9, 3, len(RAM)),
        Section(SectionKind.PART, 1, "ram", 0, 1, at + 9 + len(RAM), 100, len(part)),
        Command(CommandNumber.SWITCHOVER_START, at + 9 + len(RAM + part), 0),
        Section(SectionKind.END, 1, "ram", 0, 1, at + 14 + len(RAM + part), 0, len(end)),
        StateEnd(len(data) - len(DESCRIPTION) - 1),
        Description(len(data) - len(DESCRIPTION), 7),
    ]


def test_configuration_is_returned_with_its_subsections() -> None:
    data = _configuration(
        _subsection(b"configuration/target-page-bits", struct.pack(">I", 14)),
        _subsection(
            b"configuration/capabilities", struct.pack(">I", 2) + b"\x0ax-ignore-s\x0amapped-ram"
        ),
        _subsection(b"configuration/uuid", bytes(range(16))),
    )
    header = Header("pc-q35-10.0", len(data), 14, ("x-ignore-s", "mapped-ram"), bytes(range(16)))
    for piece in (1, 1000):
        assert _read(data + EOF, piece) == [header, StateEnd(len(data))]


_BODIES = st.binary(max_size=40) | st.sampled_from(
    [b"\x7e", b"\x7e\0\0\0", b"\x7e\0\0\0\1", b"\x7e\0\0\0\2\0", b"~" * 20, b"\0" * 20]
)
_UNITS = st.one_of(
    st.builds(_section, st.sampled_from([1, 2, 3, 4]), st.sampled_from([1, 2]), _BODIES),
    st.builds(_command, st.sampled_from([1, 8, 9, 11])),
    st.builds(_command, st.sampled_from([3, 6, 10]), st.binary(max_size=30)),
)


@given(units=st.lists(_UNITS, max_size=8), cuts=st.lists(st.integers(1, 60), max_size=40))
def test_stream_cut_anywhere_gives_the_same_events(units: list[bytes], cuts: list[int]) -> None:
    first = [RAM, _section(1, 2, b"")]
    data = b"".join([START, *first, *units, EOF, DESCRIPTION])
    at, pieces = 0, []
    for cut in [*cuts, len(data)]:
        pieces.append(data[at : at + cut])
        at += cut
    assert _told(pieces) == _told([data])


# -- where a body ends -------------------------------------------------------------------


@pytest.mark.parametrize(
    "like_a_footer",
    [
        b"\x7e\0\0\0\2\0",  # of another section
        b"\x7e\0\0\0\1\x05",  # nothing legal behind it
        b"\x7e\0\0\0\1\x06",
        b"\x7e\0\0\0\1\x02\0\0\0\x09",  # PART of a section that was not started
        b"\x7e\0\0\0\1\x04\0\0\0\x09\0",  # FULL without a name
        b"\x7e\0\0\0\1\x08\0\x0c",  # no such command
        b"\x7e\x7e\0\0\0\1",
    ],
)
def test_what_only_looks_like_a_footer_is_body(like_a_footer: bytes) -> None:
    body = b"before" + like_a_footer + b"behind"
    for piece in (1, 1000):
        (section,) = _sections(_read(START + _section(4, 1, body) + EOF, piece))
        assert section.body_size == len(body)


@pytest.mark.parametrize("unit", [EOF, SWITCHOVER, RAM, _section(4, 9, b""), _section(3, 1, b"")])
def test_a_footer_in_a_body_with_a_unit_behind_it_is_taken_for_the_end(unit: bytes) -> None:
    body = b"body" + b"\x7e\0\0\0\1" + unit
    reader = MainChannelReader("source, main channel")
    reader.feed(START + _section(1, 1, body) + EOF)
    reader.next()
    section = reader.next()
    assert isinstance(section, Section)
    assert section.body_size == 4, "on the wire it looks like the end"


def test_section_is_returned_as_soon_as_the_next_unit_has_begun() -> None:
    reader = MainChannelReader("source, main channel")
    reader.feed(START + RAM)
    assert len(_events(reader)) == 1
    following = _section(4, 9, b"")
    reader.feed(following[: LOOK_AHEAD - 1])
    assert not _events(reader)
    reader.feed(following[LOOK_AHEAD - 1 : LOOK_AHEAD])
    assert len(_events(reader)) == 1


def test_of_a_body_nothing_is_held() -> None:
    reader = MainChannelReader("source, main channel")
    reader.feed(START + RAM[:-5])
    _events(reader)
    for byte in (0, 0x7E, 0xFF):
        for _ in range(4):
            reader.feed(bytes((byte,)) * (1 << 20))
            assert not _events(reader)
            assert reader.buffered < 16


# -- damage ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "at", "words"),
    [
        (b"QEVN" + START[4:], 0, "magic 0x5145564e"),
        (b"QEVM\0\0\0\2" + START[8:], 4, "version 2"),
        (START[:8] + b"\1" + START[9:], 8, "type 0x01, not the configuration"),
        (_configuration(machine=b"m" * (MACHINE_LIMIT + 1)), 9, "machine type of 256 bytes"),
        (_configuration(_subsection(b"configuration/x", b"")) + EOF, 24, "unknown subsection"),
        (
            _configuration(*[_subsection(b"configuration/uuid", bytes(16))] * 2) + EOF,
            64,
            "subsection 'configuration/uuid' again",
        ),
        (
            _configuration(
                _subsection(
                    b"configuration/capabilities", struct.pack(">I", CAPABILITIES_LIMIT + 1)
                )
            ),
            24,
            "65 capabilities",
        ),
        (START + SWITCHOVER + b"\x05", 29, "unknown type 0x05"),
        (START + DESCRIPTION, 24, "unknown type 0x06"),
        (START + b"\x7e\0\0\0\1", 24, "unknown type 0x7e"),
        (START + _section(2, 9, b""), 24, "section 9 was not started"),
        (START + _command(0), 24, "unknown command 0 of 0 bytes"),
        (START + _command(12, b"xx"), 24, "unknown command 12 of 2 bytes"),
        (START + _command(11, b"x"), 24, "command SWITCHOVER_START has 1 bytes"),
        (START + _command(7, bytes(4)), 24, "command PACKAGED"),
        (START + EOF + EOF, 25, "behind the end of the state"),
        (START + EOF + DESCRIPTION + EOF, 25 + len(DESCRIPTION), "behind the end of the state"),
        (START + EOF + DESCRIPTION * 2, 25 + len(DESCRIPTION), "behind the end of the state"),
    ],
)
def test_damage_names_channel_and_offset_and_stays(data: bytes, at: int, words: str) -> None:
    reader = MainChannelReader("source, main channel")
    reader.feed(data)
    for _ in range(2):
        with pytest.raises(WireError, match=words) as caught:
            _events(reader)
        assert f"source, main channel, byte {at}:" in str(caught.value)
        reader.feed(EOF)


def test_sections_that_are_started_are_counted() -> None:
    sections = [_section(1, number, b"") for number in range(STARTED_LIMIT + 1)]
    assert len(_read(START + b"".join(sections[:-1]) + EOF)) == STARTED_LIMIT + 2
    with pytest.raises(WireError, match="more than 1024 sections are started"):
        _read(START + b"".join(sections) + EOF)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "byte 0: ends before the end of the state"),
        (START[:10], "byte 0: ends inside a unit"),
        (START + RAM[:-6] + EOF, r"ends inside section 1 \(ram\)"),
        (START + _section(4, 7, b"x")[:-4] + b"\0\0\0\x08" + EOF, "ends inside section 7"),
        (START + RAM + _command(2, b"ping")[:-1], "ends inside a unit"),
        (START + SWITCHOVER, "byte 29: ends before the end of the state"),
        (START + EOF + DESCRIPTION[:-1], "ends inside a unit"),
    ],
)
def test_end_before_the_end_of_the_state_is_an_error(data: bytes, words: str) -> None:
    reader = MainChannelReader("source, main channel")
    reader.feed(data)
    _events(reader)
    with pytest.raises(WireError, match=words):
        reader.close()


@given(data=st.binary(max_size=300), machine=st.booleans())
def test_any_bytes_give_events_or_one_error(data: bytes, machine: bool) -> None:
    *events, last = _told([(START if machine else b"QEVM") + data])
    assert not any(isinstance(event, str) for event in events)
    assert isinstance(last, StateEnd | Description) or "main channel, byte " in str(last)
