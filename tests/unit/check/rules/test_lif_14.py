"""LIF-14: a connection of the source that is refused fails the migration within seconds."""

import pytest

from harness.check.verdict import Outcome
from harness.history import wire
from harness.scenario.fault_plan import Refusal
from tests.twins.damage import drop, some, swap
from tests.unit.check.histories import changed, find, good, without
from tests.unit.check.lives import Life, ended, refused_connection, sent_on
from tests.unit.check.story import DST, SRC


def refused(life: Life):
    return find(ended(life), "LIF-14")


@pytest.mark.parametrize("name", ["connection refused", "nobody listens"])
def test_both_fail_or_the_destination_listens_and_the_source_runs_on(name):
    run = good(name)
    assert find(run, "LIF-14").outcome is Outcome.VALID
    assert find(run, "RUN").outcome is Outcome.VALID
    assert find(run, "LIF-14").numbers["said"] == "Connection refused"


@pytest.mark.parametrize("accepted", [0, 1])
@pytest.mark.parametrize("how", list(Refusal))
def test_destination_that_got_no_byte_may_listen(accepted, how):
    life = refused_connection(accepted, how)
    sent_on(life, 0)
    life.put("harness", wire.ChannelOpened(5, "raw"))
    life.put("harness", wire.ChannelOpened(6, "multifd"))
    life.put("harness", wire.ChannelRefused(6, "Connection refused"))
    life.hangs(DST)
    assert refused(life).outcome is Outcome.VALID


def test_destination_that_got_no_byte_may_fail_too():
    life = refused_connection(0)
    life.status(DST, "failed")
    assert refused(life).outcome is Outcome.VALID


def test_destination_that_got_no_byte_and_is_blocked_is_violated():
    life = refused_connection(0)
    life.hangs(DST, main_loop_alive=False)
    assert refused(life).outcome is Outcome.VIOLATED


@pytest.mark.parametrize("size", [64, None])
@pytest.mark.parametrize(("accepted", "which"), [(0, "main"), (2, "multifd")])
def test_destination_that_got_a_hello_must_end(accepted, which, size):
    life = refused_connection(accepted)
    sent_on(life, size)
    life.hangs(DST)
    finding = refused(life)
    shape = f"destination-did-not-end-{which}-refused"
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, shape)


def test_destination_that_was_not_seen_to_be_stuck_is_unknown():
    life = refused_connection()
    sent_on(life)
    assert refused(life).outcome is Outcome.UNKNOWN


def test_source_that_waits_is_violated():
    life = refused_connection()
    life.records = drop(life.records, "MIGRATION", side=SRC, status="failed")
    life.records = swap(
        life.records, some(life.records, "return", command="query-migrate"), value={}
    )
    life.status(DST, "failed")
    life.hangs(SRC)
    finding = refused(life)
    shape = "source-did-not-end-multifd-refused"
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, shape)


@pytest.mark.parametrize("side", [SRC, DST])
def test_qemu_that_crashes_is_violated(side):
    life = refused_connection()
    life.died(side, signal=11)
    life.quit(SRC if side == DST else DST)
    finding = find(life.history(), "LIF-14")
    assert (finding.outcome, finding.shape) == (
        Outcome.VIOLATED,
        f"{side}-died-multifd-refused",
    )


def test_destination_may_exit():
    life = refused_connection()
    sent_on(life)
    life.died(DST, signal=0, status=1)
    life.asked(SRC)
    life.quit(SRC)
    assert find(life.history(), "LIF-14").outcome is Outcome.VALID


@pytest.mark.parametrize("side", [SRC, DST])
def test_completed_is_violated(side):
    life = refused_connection()
    life.status(side, "completed")
    finding = refused(life)
    shape = f"{side}-completed-multifd-refused"
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, shape)


def test_failure_without_a_reason_is_violated():
    run = good("connection refused")
    answers = some(list(run.records), "return", command="query-migrate")
    silent = changed(run, swap(list(run.records), answers, value={"status": "failed"}))
    finding = find(silent, "LIF-14")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, "no-reason-multifd-refused")


def test_source_that_was_not_asked_whether_it_runs_is_unknown():
    life = refused_connection(0)
    life.quit(SRC)
    life.quit(DST)
    assert find(life.history(), "LIF-14").outcome is Outcome.UNKNOWN


def test_source_that_does_not_answer_is_violated():
    life = refused_connection()
    life.status(DST, "failed")
    life.silent(SRC)
    life.quit(SRC)
    life.quit(DST)
    finding = find(life.history(), "LIF-14")
    assert finding.shape == "source-silent-multifd-refused", finding.sentence


def test_nothing_that_was_refused_is_unknown():
    run = without(good("connection refused"), "fault")
    assert find(run, "LIF-14").outcome is Outcome.UNKNOWN
