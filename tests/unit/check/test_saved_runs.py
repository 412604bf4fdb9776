"""Runs of real QEMUs, saved with ci/save_run.py, are judged today as they were then."""

from pathlib import Path

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.rundir import load
from harness.job.known import explained, known_deviations

DATA = Path(__file__).parents[2] / "data"
GOOD = sorted((DATA / "good").iterdir())
VIOLATED = sorted((DATA / "violated").glob("*/*"))
KNOWN = sorted((DATA / "known").iterdir())
"""Of known deviations, by their names; RUN is violated, too."""


@pytest.mark.parametrize("run", GOOD, ids=lambda run: run.name)
def test_good_run_is_valid(run: Path) -> None:
    verdict = judge(load(run))
    assert verdict.overall is Outcome.VALID, [
        f for f in verdict.findings if f.outcome is not Outcome.VALID
    ]


@pytest.mark.parametrize("run", VIOLATED, ids=lambda run: f"{run.parent.name}-{run.name}")
def test_violated_run_is_caught_by_its_requirement_alone(run: Path) -> None:
    verdict = judge(load(run))
    assert verdict.with_outcome(Outcome.VIOLATED) == (run.parent.name,)
    finding = verdict.finding(run.parent.name)
    assert finding is not None
    assert finding.evidence
    assert finding.shape
    # what the scenario plans, a device's lie among it, was seen to happen
    assert "RUN" not in verdict.with_outcome(Outcome.UNKNOWN)


@pytest.mark.parametrize("run", KNOWN, ids=lambda run: run.name)
def test_run_of_a_known_deviation_is_told_from_the_others(run: Path) -> None:
    history = load(run)
    verdict = judge(history)
    found = explained(history, verdict)
    assert {deviation.name for deviation in found.values()} == {run.name}
    assert found.keys() == set(verdict.with_outcome(Outcome.VIOLATED))
    shown = [each.name for each in known_deviations() if each.shown_in(verdict) is not None]
    assert shown == [run.name]


def test_there_are_runs_of_both_kinds() -> None:
    assert len(GOOD) >= 5
    assert len(VIOLATED) >= 5


def test_deadlock_is_told_from_any_other_hang() -> None:
    finding = judge(load(DATA / "violated" / "RUN" / "sync-deadlock")).finding("RUN")
    assert finding is not None
    assert "waits in multifd_send_sync_main() for its channels while vfio0" in finding.sentence
