"""What has to hold before anything can be judged."""

import msgspec
import pytest

from harness.check.assumptions import Assumption, check
from harness.check.evidence import Evidence, Seen
from harness.history import Kind, Record
from harness.history.rundir import History
from harness.model.expectation import expect
from tests.twins.damage import one, swap
from tests.unit.check.histories import (
    DST,
    FACTS,
    SRC,
    changed,
    completed,
    good,
    history,
    scenario,
    with_manifest,
    without,
)

A = Assumption


def broken(run) -> dict[Assumption, str]:
    return check(Evidence(Seen(run), expect(run.scenario, FACTS, FACTS)))


def with_line(line: str):
    run = good("multifd")
    at = run.records[50].t_ns
    return changed(run, [*run.records, Record(at, DST, Kind.TRACE, "?", {"line": line})])


def test_all_hold_in_a_good_run():
    assert broken(good("multifd")) == {}


def test_history_that_was_cut_off():
    found = broken(with_manifest(good("multifd"), complete=False))
    assert found == {A.COMPLETE: "the run was not recorded to its end"}


def test_empty_history_breaks_all_but_its_completeness():
    assert set(broken(history(scenario(), []))) == set(A) - {A.COMPLETE}


def test_qemu_that_was_not_started():
    found = broken(without(good("multifd"), "launched", side=DST))
    assert found == {A.LAUNCHED: "there is no record of a start of the destination QEMU"}


def test_end_that_was_not_seen():
    found = broken(without(good("multifd"), "exited"))
    assert "source and the destination" in found[A.ENDINGS_KNOWN]
    assert set(found) == {A.ENDINGS_KNOWN}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"signal": 11, "status": -1}, "the source QEMU ended by signal 11, unexpectedly"),
        ({"status": 1}, "the source QEMU ended with status 1, unexpectedly"),
    ],
)
def test_end_that_was_not_asked_for(fields, words):
    run = good("multifd")
    end = one(run.records, "exited", side=SRC)
    found = broken(changed(run, swap(list(run.records), [end], asked=False, **fields)))
    assert found == {A.ENDED_WELL: words}


def test_migration_that_did_not_complete():
    assert broken(good("refused")) == {
        A.ENDED_WELL: "the migration did not complete: the source's status is failed"
    }
    assert "status is not known" in broken(good("blocked"))[A.ENDED_WELL]


@pytest.mark.parametrize(("side", "which"), [(SRC, A.SOURCE_TRACE), (DST, A.DESTINATION_TRACE)])
def test_trace_that_is_not_there(side, which):
    run = good("multifd")
    records = [r for r in run.records if not (r.kind is Kind.TRACE and r.side is side)]
    assert broken(changed(run, records)) == {which: f"there is no trace of the {side} QEMU"}


def test_trace_that_was_not_asked_for():
    found = broken(completed(scenario(trace=())))
    assert found[A.SOURCE_TRACE] == "the scenario enables no trace events"
    assert found[A.DESTINATION_TRACE] == "the scenario enables no trace events"


@pytest.mark.parametrize(
    ("patterns", "absent"),
    [
        (("vfio_*", "multifd_*"), {}),
        (("*",), {}),
        (("multifd_*",), {A.SOURCE_TRACE: "vfio_save_setup", A.DESTINATION_TRACE: "vfio_load_"}),
        (("vfio_*",), {A.DESTINATION_TRACE: "multifd_recv_thread_start"}),
        (("*", "-vfio_load_bufs_*"), {A.DESTINATION_TRACE: "vfio_load_bufs_thread_start"}),
        (("*", "-vfio_load_bufs_*", "vfio_*"), {}),
    ],
)
def test_trace_that_leaves_out_events_which_the_rules_read(patterns, absent):
    """Wrong the other way round: with all of them enabled, an absent event did not happen."""
    run = good("multifd")
    of = msgspec.structs.replace(run.scenario, trace=patterns)
    found = broken(History(of, run.manifest, run.records))
    assert set(found) == set(absent)
    for assumption, event in absent.items():
        assert f"patterns leave out {event}" in found[assumption]


def test_trace_that_the_build_cannot_write():
    facts = msgspec.structs.replace(FACTS, trace_events=False)
    found = broken(with_manifest(good("multifd"), source=facts))
    assert found == {A.SOURCE_TRACE: "the source QEMU was built without the log trace backend"}


@pytest.mark.parametrize(
    "line", ["7@1.000001:vfio_load_state_device_buffer_inc", "1@2.3:multifd_recv_thread_end 3 pa"]
)
def test_torn_line_of_an_event_that_matters(line):
    found = broken(with_line(line))
    assert set(found) == {A.DESTINATION_TRACE}
    assert line in found[A.DESTINATION_TRACE]


def test_line_of_something_else_does_no_harm():
    assert broken(with_line("warning: TCG doesn't support requested feature")) == {}
