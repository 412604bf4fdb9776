"""The record: one line of a history."""

from pathlib import Path

import msgspec
import pytest

from harness.history import Kind, Record, Side, records
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


def test_names_are_those_of_the_table():
    """Lines that go on with a row, and words within one, are none."""
    assert records.NAMES[Kind.TRACE] == {"?"}
    assert records.NAMES[Kind.QMP] == {"execute", "return", "error"}
    assert records.NAMES[Kind.GUEST] == {"ready", "round", "gave_up", "line"}
    assert records.NAMES.keys() == set(Kind)
    everything = set().union(*records.NAMES.values())
    assert {"data_fd", "memory", "not_continued", "main_section", "delivered"} <= everything
    assert not {"errno", "offset", "pid", "saving"} & everything


def test_saved_runs_have_no_other_names():
    for path in sorted(DATA.rglob("history.jsonl")):
        for record in read_records(path):
            if record.kind not in (Kind.TRACE, Kind.QMP):
                assert record.name in records.NAMES[record.kind], path
