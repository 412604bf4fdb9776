"""What a report has of a run that was made, judged again, or lost."""

from pathlib import Path

import msgspec
import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.errors import LOST, PrerequisiteMissing
from harness.history import Record, Side
from harness.history.rundir import History
from harness.history.session import NotCaptured, Replayed
from harness.job import entry
from harness.scenario.fault_plan import Drop
from tests.unit.check.histories import changed
from tests.unit.saved_runs import valid_run, violated_run

PLACE = Path("runs/x-0001")


def _with_scenario(history, note, **fields):
    scenario = msgspec.structs.replace(history.scenario, **fields)
    return History(scenario, history.manifest, [*history.records, note])


def of_run(history):
    return entry.judged(PLACE, history, judge(history))


def test_run_that_was_made_has_its_verdict_and_how_long_it_took():
    history = violated_run()
    made = of_run(history)
    assert (made.name, made.path, made.outcome) == ("liar", PLACE, Outcome.VIOLATED)
    assert made.verdict == judge(history)
    manifest = history.manifest
    assert made.seconds == (manifest.ended_ns - manifest.started_ns) / 1e9
    assert made.replay == ()
    assert made.no_capture == ""


def test_capture_that_was_not_made_is_explained():
    history = valid_run()
    note = Record.of(1, Side.HARNESS, NotCaptured("transport is file"))
    assert of_run(changed(history, [*history.records, note])).no_capture == "transport is file"


def test_replay_is_repeated_with_its_capture_its_qemu_and_its_faults():
    history = valid_run()
    note = Record.of(1, Side.HARNESS, Replayed("a.capture"))
    made = of_run(_with_scenario(history, note, qemu_dst="/q", faults=(Drop(),)))
    assert made.replay == ("a.capture", "--qemu", "/q", "--fault", '{"fault":"drop","select":{}}')


def test_lost_run_has_the_error_and_its_exit_status(tmp_path, capsys):
    made = entry.lost("x", tmp_path, PrerequisiteMissing("no QEMU"), 2.5)
    assert (made.name, made.path, made.error, made.seconds) == ("x", tmp_path, "no QEMU", 2.5)
    assert made.verdict is None
    assert made.missing
    assert not made.cannot_run
    assert not capsys.readouterr().err


def test_lost_run_without_a_directory_has_none(tmp_path):
    assert entry.lost("x", tmp_path / "gone", PrerequisiteMissing("no QEMU")).path is None


@pytest.mark.parametrize("error", [KeyError("typo"), RuntimeError("no")])
def test_bug_of_the_harness_is_called_one_and_shows_its_traceback(error, capsys):
    made = entry.lost("x", None, error)
    assert made.error == f"x: {error!r}: a bug of the harness"
    assert made.exit_status == LOST
    assert repr(error).partition("(")[0] in capsys.readouterr().err
