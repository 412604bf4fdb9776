"""Test points of a report: one for each requirement in each run, and none is lost."""

import dataclasses
from pathlib import Path

from harness.check.deviations import Deviation
from harness.check.verdict import Outcome
from harness.report.ci_points import Kind, points
from tests.unit.saved_runs import entry, finding, judged, lost, report, valid_run, violated_run

KNOWN = Deviation(
    requirement="SET-4",
    case="it competes",
    versions=">=10.0",
    shape="waits",
    cause="two threads",
    intermittent=True,
)
BAD = (Kind.VIOLATED, Kind.UNKNOWN, Kind.LOST)


def of(*entries, **fields):
    return list(points(report(*entries, **fields)))


def known(run):
    return dataclasses.replace(run, known=KNOWN)


def test_each_requirement_has_a_point_in_each_run_and_one_if_it_is_applicable_to_none():
    run = judged(finding("ORD-1", Outcome.VALID), finding("ORD-2", Outcome.UNKNOWN), REF_1="no")
    found = of(run, judged(finding("ORD-1", Outcome.VIOLATED), name="other", REF_1="no"))
    told = [(point.requirement, point.run, point.kind) for point in found]
    assert told[:4] == [
        ("RUN", "", Kind.NOT_APPLICABLE),
        ("ORD-1", "made", Kind.VALID),
        ("ORD-1", "other", Kind.VIOLATED),
        ("ORD-2", "made", Kind.UNKNOWN),
    ]
    assert [point.sentence for point in found if point.requirement == "REF-1"] == ["no"]


def test_nothing_bad_is_reported_exactly_if_the_exit_status_is_0():
    valid, violated = entry(valid_run()), entry(violated_run())
    for entries, fields in (
        ((valid,), {}),
        ((valid, known(violated)), {}),
        ((valid, violated), {}),
        ((valid, lost()), {}),
        ((judged(finding("ORD-1", Outcome.UNKNOWN)),), {}),
        ((known(violated),), {}),
        ((), {}),
        ((valid,), {"interrupted": "run 2"}),
    ):
        made = report(*entries, **fields)
        is_bad = any(point.kind in BAD for point in points(made))
        assert is_bad == (made.exit_status != 0), (entries, fields)


def test_violation_that_is_known_is_a_violation_with_the_deviation_among_its_details():
    run = dataclasses.replace(entry(violated_run()), explained={"ORD-1": KNOWN})
    (point,) = [each for each in of(run) if each.requirement == "ORD-1"]
    assert point.kind is Kind.VIOLATED
    assert point.details["known deviation"] == "set-4-it-competes"
    assert point.details["reproduce"] == "vfio-multifd repro set-4-it-competes"
    assert all("known deviation" not in each.details for each in of(entry(violated_run())))


def test_known_deviation_is_one_point_and_takes_the_findings_with_it():
    found = [point for point in of(known(entry(violated_run()))) if point.run]
    assert [(p.kind, p.requirement, p.title) for p in found] == [
        (Kind.KNOWN, "SET-4", "it competes")
    ]
    assert found[0].sentence == "two threads"


def test_lost_run_has_its_error_and_is_no_requirement_of_qemu():
    (point,) = [point for point in of(lost("no disk"), entry(valid_run())) if point.run == "gone"]
    assert (point.kind, point.requirement, point.sentence) == (Kind.LOST, "harness", "no disk")


def test_runs_of_one_name_are_distinguished():
    names = {point.run for point in of(entry(valid_run()), entry(valid_run()), lost())}
    assert names == {"", "valid (run 1)", "valid (run 2)", "gone"}


def test_time_of_a_run_is_reported_once():
    found = of(entry(valid_run()), entry(violated_run()), lost())
    assert sum(point.seconds for point in found) == 0.25 + 0.25 + 1.0


def test_violated_point_has_records_stuck_and_how_to_repeat_it():
    run = entry(violated_run(), Path("runs/liar 1"))
    run = dataclasses.replace(run, stuck=("vfio0 waits for packet 3",))
    found = {p.kind: p for p in of(run) if p.requirement in ("ORD-1", "STA-2")}
    details = found[Kind.VIOLATED].details
    assert any("device received" in line for line in details["records"])
    assert details["stuck"] == ["vfio0 waits for packet 3"]
    assert details["run directory"] == "runs/liar 1"
    assert details["run again"] == "vfio-multifd run 'runs/liar 1/scenario.json'"
    assert details["judge again"] == "vfio-multifd recheck 'runs/liar 1'"
    assert "stuck" not in found[Kind.VALID].details


def test_requirement_that_only_met_a_known_deviation_is_not_judged():
    """Wrong if it counts as not applicable, or as judged once another run has judged it."""
    (point,) = [p for p in of(known(entry(violated_run()))) if p.requirement == "ORD-1"]
    assert point.kind is Kind.NOT_JUDGED
    assert point.sentence == "met the known deviation set-4-it-competes in run 1"
    both = of(known(entry(violated_run())), entry(valid_run()))
    assert [p.kind for p in both if p.requirement == "ORD-1"] == [Kind.VALID]
