"""ARC-4: a guest that is reset while it migrates arrives intact, or the migration fails."""

import msgspec
import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.records import Record
from harness.scenario.action_plan import Execute, Target, status
from tests.twins.damage import drop, one, some, swap
from tests.twins.twin import twin
from tests.unit.check.histories import changed, find, good
from tests.unit.check.lives import RESET, STOPPED, Life, ended
from tests.unit.check.story import DST, SRC, device, scenario

WHAT = "the source's guest was reset in active"
RUN = "reset in pre-copy"


@twin("ARC-4", on=RUN)
def source_completes_all_the_same(records: list[Record]) -> list[Record]:
    failed = some(records, "MIGRATION", side=SRC, status="failed")
    records = swap(records, failed, status="completed")
    answers = some(records, "return", command="query-migrate", side=SRC)
    return swap(records, answers, value={"status": "completed"})


def without(run, name, **fields):
    return changed(run, drop(list(run.records), name, **fields))


def test_migration_that_fails_with_a_reason_is_valid():
    finding = find(good(RUN), "ARC-4")
    assert finding.outcome is Outcome.VALID
    assert finding.sentence == f"{WHAT}: both sides failed, and the source runs on"
    assert finding.numbers["at"] == "active"


def test_failure_without_a_reason_is_not_known():
    run = good(RUN)
    answers = some(run.records, "return", command="query-migrate", side=SRC)
    silent = swap(list(run.records), answers, value={"status": "failed"})
    assert find(changed(run, silent), "ARC-4").outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("name", ["reset", "action"])
def test_reset_that_was_not_seen_is_not_known(name):
    assert find(without(good(RUN), name), "ARC-4").outcome is Outcome.UNKNOWN


def test_source_that_is_lost_is_a_violation():
    run = good(RUN)
    answer = some(run.records, "return", command="query-status", side=SRC)
    finding = find(changed(run, swap(list(run.records), answer, value=STOPPED)), "ARC-4")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, "source-lost-after-reset")


def test_destination_that_completes_is_a_violation():
    run = good(RUN)
    failed = some(run.records, "MIGRATION", side=DST, status="failed")
    records = swap(list(run.records), failed, status="completed")
    answers = some(records, "return", command="query-migrate", side=DST)
    records = swap(records, answers, value={"status": "completed"})
    finding = find(changed(run, records), "ARC-4")
    assert finding.shape == "destination-completed-after-reset"


@pytest.mark.parametrize("side", [SRC, DST])
def test_crash_is_a_violation(side):
    run = good(RUN)
    end = one(run.records, "exited", side=side)
    records = swap(list(run.records), [end], status=-1, signal=6, asked=False)
    finding = find(changed(run, records), "ARC-4")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, "died")


def test_device_that_is_reset_once_it_is_over_is_not_known():
    run = good(RUN)
    reset = one(run.records, "reset", side=SRC)
    late = msgspec.structs.replace(reset, t_ns=run.records[-1].t_ns)
    records = [late if record is reset else record for record in run.records]
    finding = find(changed(run, records), "ARC-4")
    assert finding.outcome is Outcome.UNKNOWN
    assert finding.sentence == "the reset came once the migration was over"


def test_reset_once_it_is_over_is_not_judged():
    life = Life(scenario(device(), actions=(RESET,)))
    life.status(SRC, "completed")
    life.act()
    assert find(ended(life), "ARC-4").outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("command", ["migrate_cancel", "quit"])
def test_what_stops_it_in_another_way_is_not_judged(command):
    other = Execute(when=status(Target.SOURCE, "active"), target=Target.SOURCE, command=command)
    life = Life(scenario(device(), actions=(RESET, other)))
    life.status(SRC, "failed")
    assert "ARC-4" in judge(ended(life)).not_applicable


def test_run_without_a_reset_is_not_judged():
    assert judge(good("multifd")).not_applicable["ARC-4"] == "no guest was reset"
