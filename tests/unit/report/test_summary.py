"""What several runs say together: the worst counts, and a lost run leaves it open."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.check.deviations import Deviation
from harness.check.verdict import Outcome
from harness.errors import INTERRUPTED, LOST
from tests.unit.saved_runs import finding, judged, lost, report

VALID = judged(finding("ORD-1", Outcome.VALID))
VIOLATED = judged(finding("ORD-1", Outcome.VIOLATED))
UNKNOWN = judged(finding("ORD-1", Outcome.UNKNOWN))


@pytest.mark.parametrize(
    ("entries", "status"),
    [
        ((VALID, VALID), 0),
        ((VALID, UNKNOWN), 2),
        ((UNKNOWN, VIOLATED, VALID), 1),
        ((VIOLATED, lost()), LOST),
        ((lost(),), LOST),
    ],
)
def test_exit_status_is_that_of_the_worst_run(entries, status):
    assert report(*entries).exit_status == status


def test_interrupted_job_exits_130_whatever_was_found():
    assert report(VIOLATED, interrupted="run 2 of 3").exit_status == INTERRUPTED == 130


def row(requirement, *entries):
    return next(row for row in report(*entries).rows() if row.requirement == requirement)


def test_requirement_has_the_worst_outcome_of_the_runs_that_ask():
    found = row("ORD-1", VALID, UNKNOWN, VIOLATED, VALID)
    assert found.outcome is Outcome.VIOLATED
    assert found.runs(Outcome.VIOLATED) == [3]
    assert found.runs(Outcome.VALID) == [1, 4]


def test_requirement_that_is_applicable_to_no_run_has_the_reason():
    found = row("SET-3", judged(finding("ORD-1", Outcome.VALID), SET_3="too new"), VALID)
    assert found.outcome is None
    assert found.why_not == "too new"


def test_requirement_that_is_applicable_to_one_run_has_no_reason():
    silent = judged(finding("ORD-1", Outcome.VALID), SET_3="too new")
    found = row("SET-3", silent, judged(finding("SET-3", Outcome.VALID)))
    assert found.outcome is Outcome.VALID
    assert not found.why_not


def test_lost_run_says_nothing_about_any_requirement():
    assert all(row.outcome is None for row in report(lost()).rows())


def test_rows_are_in_the_order_of_the_titles():
    found = report(VALID)
    assert [row.requirement for row in found.rows()] == list(found.titles)


def test_repeating_needs_the_options_that_the_scenario_does_not_hold():
    run = lost(path=Path("runs/gone-0001"))
    found = report(run, run_options=("--trace-events", "here"))
    assert found.repeat(run) == (
        "vfio-multifd", "run", "runs/gone-0001/scenario.json", "--trace-events", "here",
    )  # fmt: skip
    assert run.recheck == ("vfio-multifd", "recheck", "runs/gone-0001")


def test_run_without_a_directory_cannot_be_repeated():
    assert report(lost()).repeat(lost()) == ()
    assert lost().recheck == ()


KNOWN = replace(
    VIOLATED,
    known=Deviation(requirement="SET-4", case="a race", versions=">=10.0", shape="any", cause="so"),
)


def test_run_that_a_known_deviation_interrupted_leaves_the_others_verdict():
    assert report(KNOWN, VALID).exit_status == 0
    assert report(KNOWN, VIOLATED).exit_status == 1
    assert row("ORD-1", KNOWN, VALID).findings.keys() == {2}


def test_nothing_judged_is_never_valid():
    assert report(KNOWN).exit_status == 2
    found = row("ORD-1", KNOWN)
    assert found.outcome is None
    assert found.why_not_judged == f"met the known deviation {KNOWN.known.name} in run 1"


LEFT_OUT = lost("/qemu: this build has no TLS").as_left_out()


@pytest.mark.parametrize(
    ("entries", "status"),
    [
        ((VALID, LEFT_OUT), 0),
        ((VIOLATED, LEFT_OUT), 1),
        ((LEFT_OUT, lost()), LOST),
        ((LEFT_OUT,), 2),
    ],
)
def test_run_that_was_left_out_changes_no_exit_status_and_is_never_valid(entries, status):
    made = report(*entries)
    assert made.exit_status == status
    assert LEFT_OUT not in made.lost


def test_run_that_was_left_out_is_counted():
    outcome, sentences = report(VALID, VALID, LEFT_OUT).conclusion()
    assert outcome is Outcome.VALID
    assert sentences == (
        "Valid: all 1 applicable requirement, in 2 runs.",
        "1 of 3 runs left out: cannot run here.",
    )


def test_requirement_whose_only_run_met_a_known_deviation_is_not_counted():
    """Wrong if it is listed as not applicable, or "all" counts it; or if one is listed that another
    run has judged."""
    other = judged(finding("SET-3", Outcome.VALID), ORD_1="not here")
    found = report(KNOWN, other, KNOWN)
    rows = {row.requirement: row for row in found.rows()}
    assert rows["ORD-1"].why_not == ""
    assert rows["ORD-1"].why_not_judged.endswith("in runs 1, 3")
    assert found.conclusion()[1] == (
        "Valid: all 1 judged requirement, in 3 runs.",
        "2 of 3 runs met a known deviation: set-4-a-race.",
        "Not judged: ORD-1.",
    )
    both = report(KNOWN, VALID)
    assert not row("ORD-1", KNOWN, VALID).why_not_judged
    assert both.conclusion()[1][0] == "Valid: all 1 applicable requirement, in 2 runs."
