"""The export for Perfetto: the Trace Event Format, with every record in it once."""

import itertools
import json
from collections import Counter

import pytest

from harness.history import Kind, Side
from harness.history.wire import MainEnd
from harness.report import perfetto
from tests.unit.check.histories import completed, device, scenario
from tests.unit.check.relayed import missing_packet, with_relay
from tests.unit.report.moments import (
    arc,
    buffer,
    memory,
    of,
    packet_in,
    packet_out,
    qmp,
    run,
)
from tests.unit.saved_runs import valid_run

HISTORIES = {
    "valid": valid_run(),
    "relayed": with_relay(completed(scenario(device()))),
    "waiting": missing_packet(),
    "empty": run(),
}
PHASES = {
    "M": {"name", "args"},
    "X": {"name", "ts", "dur", "args"},
    "b": {"name", "cat", "id2", "ts", "args"},
    "e": {"name", "cat", "id2", "ts"},
    "C": {"name", "ts", "args"},
    "i": {"name", "cat", "s", "ts", "args"},
}


def events(history):
    return json.loads(perfetto.render(history))["traceEvents"]


def rows(found):
    """Name of each row."""
    return {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in found
        if event["name"] == "thread_name"
    }


def on(found, row, phase="X"):
    names = rows(found)
    return [e for e in found if e["ph"] == phase and names.get((e["pid"], e["tid"])) == row]


@pytest.mark.parametrize("name", HISTORIES)
def test_each_event_has_what_its_phase_needs(name):
    history = HISTORIES[name]
    length = (history.manifest.ended_ns - history.manifest.started_ns) / 1000
    for event in events(history):
        assert set(event) - {"ph", "pid", "tid"} == PHASES[event["ph"]], event
        if event["ph"] != "M":
            assert 0 <= event["ts"] <= event["ts"] + event.get("dur", 0) <= length + 0.001, event


@pytest.mark.parametrize("name", HISTORIES)
def test_every_record_is_in_it_once(name):
    history = HISTORIES[name]
    found = events(history)
    instants = sum(event["ph"] == "i" for event in found)
    executed = sum(record.name == "execute" for record in history.records)
    answered = sum(
        record.kind is Kind.QMP and record.name in ("return", "error") for record in history.records
    )
    assert instants == len(history.records) - executed - answered
    commands = [e for e in found if e["ph"] == "b" and e["cat"] == "QMP commands"]
    assert len(commands) == executed


@pytest.mark.parametrize("name", HISTORIES)
def test_slices_of_a_row_do_not_overlap_and_those_that_may_are_pairs(name):
    found = events(HISTORIES[name])
    by_row = {}
    for event in found:
        if event["ph"] == "X":
            by_row.setdefault((event["pid"], event["tid"]), []).append(event)
    for slices in by_row.values():
        slices.sort(key=lambda event: event["ts"])
        for one, following in itertools.pairwise(slices):
            assert one["ts"] + one["dur"] <= following["ts"] + 0.001
    ends = Counter((e["ph"], e["pid"], e["id2"]["local"]) for e in found if e["ph"] in "be")
    assert set(ends.values()) <= {1}
    assert {key[1:] for key in ends if key[0] == "b"} == {key[1:] for key in ends if key[0] == "e"}


@pytest.mark.parametrize("name", HISTORIES)
def test_every_row_is_named_and_no_row_is_a_thread_of_another(name):
    found = events(HISTORIES[name])
    names = rows(found)
    used = {(e["pid"], e["tid"]) for e in found if e["ph"] in ("X", "i")}
    assert used <= set(names)
    processes = {e["pid"]: e["args"]["name"] for e in found if e["name"] == "process_name"}
    assert [name.split()[0] for name in processes.values()] == [
        "source",
        "destination",
        "harness",
        "wire",
    ]
    ours = [tid for (_, tid), name in names.items() if not name.startswith("trace")]
    assert len(set(ours)) == len(ours)
    assert all(tid > 2**22 for tid in ours)


def test_packet_is_a_slice_in_the_relay_in_the_queue_and_while_it_is_loaded():
    found = events(
        run(
            packet_in(1, 0, channel=2, size=10),
            packet_out(2, 0, channel=2, size=10),
            buffer(3, "starved", 0),
            buffer(4, "incoming", 0, channel=2),
            buffer(6, "load_start", 0),
            buffer(9, "load_end", 0),
        )
    )
    times = {(e["name"], e["ph"]): e["ts"] for e in found if e["ph"] in "be"}
    assert times == {
        ("vfio0 in the relay", "b"): 1000,
        ("vfio0 in the relay", "e"): 4000,
        ("vfio0 queued", "b"): 4000,
        ("vfio0 queued", "e"): 6000,
    }
    (load,) = on(found, "vfio0 loads")
    assert (load["name"], load["ts"], load["dur"]) == ("loads 0", 6000, 3000)
    (wait,) = on(found, "vfio0 waits")
    assert (wait["name"], wait["ts"], wait["dur"]) == ("waits for 0", 3000, 3000)
    assert wait["args"] == {"idx": 0, "arrived on channel": 2}
    depths = [e["args"] for e in found if e["ph"] == "C"]
    assert depths == [{"vfio0 queued packets": 1}, {"vfio0 queued packets": 0}]


def test_states_statuses_and_memory_have_their_rows():
    found = events(
        run(
            arc(2, Side.SOURCE, "STOP_COPY"),
            qmp(1, Side.SOURCE, "MIGRATION", status="active"),
            memory(5, rss_kib=7, hwm_kib=9),
            ended_ms=10,
        )
    )
    assert [(e["name"], e["ts"], e["dur"]) for e in on(found, "vfio0 state")] == [
        ("RUNNING", 0, 2000),
        ("STOP_COPY", 2000, 8000),
    ]
    assert [(e["name"], e["dur"]) for e in on(found, "migration")] == [("active", 9000)]
    assert [e["args"] for e in found if e["ph"] == "C"] == [{"resident KiB": 7}]


def test_commands_are_paired_in_their_order_and_one_without_answer_lasts_to_the_end():
    found = events(
        run(
            qmp(1, Side.SOURCE, "execute", command="stop", arguments={}),
            qmp(2, Side.SOURCE, "execute", command="stop", arguments={}),
            qmp(3, Side.SOURCE, "return", command="stop", value={}),
            ended_ms=9,
        )
    )
    begun = {e["id2"]["local"]: e["ts"] for e in found if e["ph"] == "b"}
    ended = {e["id2"]["local"]: e["ts"] for e in found if e["ph"] == "e"}
    assert {(begun[key], ended[key]) for key in begun} == {(1000, 3000), (2000, 9000)}


def test_wire_is_a_row_for_each_channel_and_a_thread_is_named_by_its_channel():
    found = events(
        run(
            packet_in(1, 0, channel=5),
            of(1, Side.HARNESS, MainEnd(offset=9)),
            buffer(2, "incoming", 0, channel=5),
        )
    )
    assert [e["name"] for e in on(found, "channel 5", "i")] == ["packet_in"]
    assert [e["name"] for e in on(found, "all channels", "i")] == ["main_end"]
    assert len(on(found, "trace, channel 5", "i")) == 1


def test_document_says_which_run_it_was():
    told = json.loads(perfetto.render(HISTORIES["valid"]))["otherData"]
    assert (told["scenario"], told["source"]) == ("valid", "10.0.2 Debian")
