"""ARC-1: a refused arc fails the migration, and the error names the device."""

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.records import Kind, Record
from harness.scenario import LoadBehaviour, MigrationState, RefusedArc
from tests.twins.damage import drop, one, pick, some, swap
from tests.twins.twin import twin
from tests.unit.check.histories import (
    REFUSES,
    changed,
    completed,
    failed_by_arc,
    find,
    good,
    scenario,
)
from tests.unit.check.story import DST, SRC, device

REFUSED = "vfio0 refused STOP_COPY at the source (Input/output error)"


@twin("ARC-1", on="arc refused")
def error_without_the_name(records: list[Record]) -> list[Record]:
    answer = one(records, "return", command="query-migrate", side="source")
    return swap(records, [answer], value={"status": "failed", "error-desc": "I/O error"})


def after_refusal(records: list[Record]) -> list[Record]:
    refused = one(records, "arc", errno=5)
    return [r for r in pick(records, "arc", side=SRC) if r.t_ns > refused.t_ns]


def refusal(records: list[Record]) -> list[Record]:
    later = {id(record) for record in after_refusal(records)}
    return [record for record in records if id(record) not in later]


def test_migration_that_fails_and_names_the_device_is_valid():
    finding = find(good("arc refused"), "ARC-1")
    assert finding.outcome is Outcome.VALID
    assert finding.sentence == (
        f"{REFUSED} and was set to its recovery state: both sides failed, and the source runs on"
    )
    verdict = judge(good("arc refused"))
    assert verdict.overall is not Outcome.VIOLATED
    assert "LIF-5" in verdict.not_applicable


@pytest.mark.parametrize("name", ["VFIO_FD9", "vfio0", "0000:00:02.0/vfio"])
def test_any_name_of_the_device_counts(name):
    assert find(failed_by_arc(f"{name}: failed"), "ARC-1").outcome is Outcome.VALID


def test_name_of_another_device_does_not_count():
    finding = find(failed_by_arc("VFIO_FD99: failed"), "ARC-1")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, "unnamed")


def test_name_that_was_not_seen_may_be_in_the_error():
    run = failed_by_arc("VFIO_FD9: failed")
    records = [r for r in run.records if (r.kind, r.side) != (Kind.TRACE, SRC)]
    assert find(changed(run, records), "ARC-1").outcome is Outcome.UNKNOWN


def test_device_that_is_left_alone_is_a_violation():
    run = good("arc refused")
    finding = find(changed(run, refusal(list(run.records))), "ARC-1")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, "left-alone")


def test_device_that_is_left_alone_is_not_known_without_an_answer():
    run = good("arc refused")
    records = drop(refusal(list(run.records)), "return", command="query-migrate", side="source")
    assert find(changed(run, records), "ARC-1").outcome is Outcome.UNKNOWN


def test_source_that_completes_is_a_violation():
    run = good("arc refused")
    records = swap(
        list(run.records), some(run.records, "MIGRATION", status="failed"), status="completed"
    )
    answers = some(records, "return", command="query-migrate")
    records = swap(records, answers, value={"status": "completed"})
    finding = find(changed(run, records), "ARC-1")
    assert (finding.outcome, finding.shape) == (
        Outcome.VIOLATED,
        "destination-completed-after-device-error",
    )


@pytest.mark.parametrize("side", [SRC, DST])
def test_crash_is_a_violation(side):
    run = good("arc refused")
    end = one(run.records, "exited", side=side)
    records = swap(list(run.records), [end], status=-1, signal=6, asked=False)
    finding = find(changed(run, records), "ARC-1")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, f"{side}-died")


def test_arc_that_was_not_refused_is_not_known():
    run = completed(scenario(device(size=1000, refuses=REFUSES)))
    assert find(run, "ARC-1").outcome is Outcome.UNKNOWN
    assert find(run, "RUN").outcome is not Outcome.VALID


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({}, "no device refuses an arc"),
        (
            {"refuses": (RefusedArc(side="source", to=MigrationState.STOP),)},
            "the model does not know devices[0].refuses STOP at the source",
        ),
        (
            {
                "refuses": REFUSES,
                "load": LoadBehaviour(error_at=0),
            },
            "a device may fail another call first",
        ),
    ],
)
def test_where_it_does_not_apply(more, why):
    verdict = judge(completed(scenario(device(size=1000, **more))))
    assert verdict.not_applicable["ARC-1"] == why
