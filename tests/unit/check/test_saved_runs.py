"""Runs of real QEMUs, saved with ci/save_run.py, are judged today as they were then."""

from pathlib import Path

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.rundir import History, load
from harness.job.known import explained, interrupted_by, known_deviations
from tests.unit.saved_runs import load_compressed

DATA = Path(__file__).parents[2] / "data"
GOOD = sorted((DATA / "good").iterdir())
VIOLATED = sorted((DATA / "violated").glob("*/*"))
KNOWN = sorted((DATA / "known").iterdir())
"""Of known deviations, by their names; the history is compressed."""
MUTANTS = {
    "LIF-8/buffers-not-freed": "the destination does not free a buffer once it is loaded",
    "ORD-8/rest-of-a-write-dropped": "what a device leaves of a write is not written",
    "REF-3/length-checked-against-8": "a packet of 8 bytes or more passes as one with a header",
    "STA-1/configuration-not-counted": "the configuration's packet is not counted as transferred",
    "STA-2/no-event-of-resuming": "no VFIO_MIGRATION event is sent for RESUMING",
    "STA-3/index-1-not-traced": "the incoming packet with index 1 is not traced",
}
"""Runs of QEMU 10.2.2 with one defect, and the defect; the history is compressed."""
NOT_SAVED = {
    "lif-2-a-channel-fails-while-the-source-syncs",  # it shows in few runs of a busy machine
    "set-10-switchover-ack-at-the-source-only",  # 8 s of pre-copy: its trace is long
    # These need QEMU with an address sanitizer.
    "run-query-migrate-leaks-the-reason-of-a-failed-destination",
    "run-the-end-of-a-tls-session-leaks-its-task",
}
ALSO_VIOLATED = {"lif-2-the-load-begins-while-the-main-thread-cleans-up": {"LIF-3"}}
"""By what follows from the deviation, and what it does not explain."""
SAME_CAUSE = {
    "lif-4-cancel-during-the-final-ram-sync": {"lif-2-a-channel-fails-while-the-source-syncs"},
    "lif-2-a-channel-ends-before-its-sync": {"set-10-a-channel-ends-before-its-sync"},
    "set-10-a-channel-ends-before-its-sync": {"lif-2-a-channel-ends-before-its-sync"},
}
"""Other deviations that show in the run."""


@pytest.fixture
def known(request: pytest.FixtureRequest, tmp_path: Path) -> History:
    """A run of KNOWN or MUTANTS."""
    return load_compressed(request.param, tmp_path)


def test_source_that_cuts_its_state_off_is_not_taken_for_the_fault_s_consequence(tmp_path) -> None:
    """A configuration was damaged, but without a return path the source completed with a packet
    half sent: nothing can be said of the refusal.
    """
    run = load_compressed(DATA / "consequences" / "set-9-behind-a-damaged-configuration", tmp_path)
    verdict = judge(run)
    assert set(verdict.with_outcome(Outcome.VIOLATED)) == {"RUN", "SET-9"}
    assert verdict.with_outcome(Outcome.UNKNOWN) == ("REF-8",)
    cause = interrupted_by(run, verdict)
    assert cause is not None
    assert cause.name == "set-9-no-return-path"


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


@pytest.mark.parametrize(
    ("known", "name"),
    [(run, run.name) for run in KNOWN],
    ids=[run.name for run in KNOWN],
    indirect=["known"],
)
def test_run_of_a_known_deviation_is_told_from_the_others(known: History, name: str) -> None:
    verdict = judge(known)
    found = explained(known, verdict)
    assert {deviation.name for deviation in found.values()} == {name}
    violated = set(verdict.with_outcome(Outcome.VIOLATED))
    assert violated == found.keys() | ALSO_VIOLATED.get(name, set())
    shown = {each.name for each in known_deviations() if each.shown_in(verdict) is not None}
    assert shown == {name} | SAME_CAUSE.get(name, set())


@pytest.mark.parametrize(
    ("known", "requirement"),
    [(DATA / "mutants" / name, name.partition("/")[0]) for name in MUTANTS],
    ids=list(MUTANTS),
    indirect=["known"],
)
def test_run_of_a_mutant_violates_its_requirement(known: History, requirement: str) -> None:
    verdict = judge(known)
    assert requirement in verdict.with_outcome(Outcome.VIOLATED)
    assert not explained(known, verdict)


def test_each_saved_run_of_a_mutant_is_judged() -> None:
    saved = (DATA / "mutants").glob("*/*")
    assert {f"{run.parent.name}/{run.name}" for run in saved} == MUTANTS.keys()


def test_each_known_deviation_has_a_saved_run() -> None:
    assert {each.name for each in known_deviations()} == {run.name for run in KNOWN} | NOT_SAVED


def test_there_are_runs_of_both_kinds() -> None:
    assert len(GOOD) >= 5
    assert len(VIOLATED) >= 5


def test_deadlock_is_told_from_any_other_hang() -> None:
    finding = judge(load(DATA / "violated" / "RUN" / "sync-deadlock")).finding("RUN")
    assert finding is not None
    assert "waits in multifd_send_sync_main() for its channels while vfio0" in finding.sentence
