"""The record: one line of a history."""

from pathlib import Path

import msgspec
import pytest

from harness.history import Kind, Record, Side, device, plain, session, wire
from harness.history.contract import BODIES, NAMES
from harness.history.rundir import read_records

DATA = Path(__file__).parents[2] / "data"

RECORD = Record(
    1_700_000_000_000_000_001,
    Side.DESTINATION,
    Kind.TRACE,
    "vfio_load_state_device_buffer_incoming",
    {"name": "VFIO_FD12", "idx": 3},
    "vfio0",
    4711,
    2,
)


def test_record_round_trips_through_json_to_the_nanosecond():
    line = msgspec.json.encode(RECORD)
    assert msgspec.json.decode(line, type=Record) == RECORD


def test_record_is_one_line():
    awkward = msgspec.structs.replace(RECORD, args={"line": "two\nlines \u2028 and\x00a nul"})
    line = msgspec.json.encode(awkward)
    assert b"\n" not in line
    assert msgspec.json.decode(line, type=Record) == awkward


def test_fields_that_say_nothing_are_left_out():
    line = msgspec.json.encode(Record(1, Side.HARNESS, Kind.SESSION, "deadline"))
    assert line == b'{"t_ns":1,"side":"harness","kind":"session","name":"deadline"}'


def test_record_without_a_channel_has_none():
    bare = Record(1, Side.SOURCE, Kind.QMP, "STOP")
    assert (bare.device, bare.tid, bare.channel, bare.args) == ("", 0, -1, {})


@pytest.mark.parametrize("field", ["t_ns", "side", "kind", "name"])
def test_what_a_record_must_have_is_asked_for(field):
    fields = msgspec.json.decode(msgspec.json.encode(RECORD))
    del fields[field]
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.convert(fields, type=Record)


def test_side_and_kind_are_words_of_a_list():
    fields = {"t_ns": 1, "side": "middle", "kind": "qmp", "name": "x"}
    with pytest.raises(msgspec.ValidationError, match="side"):
        msgspec.convert(fields, type=Record)


def test_record_cannot_be_changed():
    with pytest.raises(AttributeError):
        RECORD.name = "other"  # type: ignore[misc]


def test_names_are_those_of_the_types():
    assert NAMES[Kind.TRACE] == {"?"}
    assert NAMES[Kind.QMP] == {"execute", "return", "error"}
    assert NAMES[Kind.GUEST] == {"ready", "round", "interrupts", "gave_up", "line"}
    assert NAMES.keys() == set(Kind)
    everything = set().union(*NAMES.values())
    assert {"data_fd", "memory", "not_continued", "main_section", "delivered"} <= everything
    assert not {"body", "packet"} & everything
    assert len({name for _, name in BODIES}) == len(BODIES)  # a name says which kind it is


def test_saved_runs_have_no_other_names():
    for path in sorted(DATA.rglob("history.jsonl")):
        for record in read_records(path):
            if record.kind not in (Kind.TRACE, Kind.QMP):
                assert record.name in NAMES[record.kind], path


def test_typed_record_is_the_same_line_as_an_untyped_one():
    typed = Record.of(5, Side.SOURCE, device.Arc(state="STOP", path=["STOP"], errno=0), "vfio0")
    line = msgspec.json.encode(typed)
    assert line == (
        b'{"t_ns":5,"side":"source","kind":"device","name":"arc",'
        b'"args":{"state":"STOP","path":["STOP"],"errno":0},"device":"vfio0"}'
    )
    assert plain(typed) == {"state": "STOP", "path": ["STOP"], "errno": 0}


def test_what_is_absent_by_default_is_not_written():
    usual = wire.PacketOut(idx=None, state_flags=1, instance_id=0, size=4, digest="d")
    assert plain(Record.of(5, Side.HARNESS, usual, "vfio0", 2)) == {
        "idx": None, "state_flags": 1, "instance_id": 0, "size": 4, "digest": "d",
    }  # fmt: skip
    assert (usual.marker, usual.idstr, usual.magic) == (None, "", None)


def test_words_of_the_language_are_fields_by_another_name():
    refused = session.ActionEnded(position=0, how="refused", error_class="GenericError", desc="no")
    assert plain(Record.of(5, Side.HARNESS, refused))["class"] == "GenericError"
    assert plain(Record.of(5, Side.HARNESS, session.NotContinued("next"))) == {"with": "next"}
