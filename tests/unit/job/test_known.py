"""The project's list of known deviations, and the runs that show one."""

from pathlib import Path

from harness.check.judge import judge
from harness.history import rundir
from harness.job import known
from tests.unit.saved_runs import valid_run, violated_run

DATA = Path(__file__).parents[2] / "data" / "violated"


def test_list_is_read_once_and_names_are_unique():
    found = known.known_deviations()
    assert found is known.known_deviations()
    names = [each.name for each in found]
    assert len(names) == len(set(names)) > 30


def test_intermittent_one_interrupts_a_run_and_another_explains_its_violation():
    history = rundir.load(DATA / "RUN" / "sync-deadlock")
    interrupted = known.interrupted_by(history, judge(history))
    assert interrupted is not None
    assert interrupted.name == "set-4-device-state-is-queued-during-the-final-ram-sync"
    history = rundir.load(DATA / "ORD-4" / "interrupt-line")
    assert known.interrupted_by(history, judge(history)) is None
    explained = known.explained(history, judge(history))
    assert {key: each.name for key, each in explained.items()} == {
        "ORD-4": "ord-4-guest-writes-the-interrupt-line"
    }


def test_valid_run_and_an_unknown_violation_show_none():
    for history in (valid_run(), violated_run()):
        assert known.interrupted_by(history, judge(history)) is None
        assert known.explained(history, judge(history)) == {}
