"""Saved runs are found and judged again."""

import json
from pathlib import Path

import pytest

from harness.check.judge import judge
from harness.errors import UsageError
from harness.job import saved
from harness.scenario import (
    MIB,
    EmulatedDevice,
    Scenario,
)
from tests.unit.saved_runs import save, valid_run, violated_run

THREE = Scenario(
    name="three", devices=tuple(EmulatedDevice(id=f"d{n}", size=n * MIB, seed=n) for n in (1, 2, 3))
)


def test_run_directory_is_found_by_any_of_its_files(tmp_path):
    path = save(valid_run(), tmp_path)
    assert saved.run_dirs(path) == [path]
    assert saved.run_dirs(tmp_path) == [path]
    (path / "manifest.json").unlink()
    assert saved.run_dirs(tmp_path) == [path]


def test_folder_without_runs_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="no run directory"):
        saved.run_dirs(tmp_path)


def test_deadlock_that_is_known_of_qemu_is_told_to_be(capsys):
    path = Path(__file__).parents[2] / "data" / "violated" / "RUN" / "sync-deadlock"
    assert saved.recheck([path], is_json=True, complain=print) == 2
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["outcome"] == "known deviation"
    assert "channels_ready" in run["known"]["cause"]
    name = "set-4-device-state-is-queued-during-the-final-ram-sync"
    assert (run["known"]["name"], run["known"]["repro"][-1]) == (name, name)


def test_known_deviation_that_shows_in_every_run_is_named_and_stays_violated(capsys):
    """The scenario's name says nothing of it: it is recognised by what was seen."""
    name = "ord-4-guest-writes-the-interrupt-line"
    path = Path(__file__).parents[2] / "data" / "violated" / "ORD-4" / "interrupt-line"
    assert saved.recheck([path], is_json=True, complain=print) == 1
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert (run["outcome"], run["known"], run["name"] == name) == ("violated", None, False)
    (seen,) = run["deviations"]
    assert (seen["seen_in"], seen["name"]) == ("ORD-4", name)
    assert seen["repro"] == ["vfio-multifd", "repro", name]
    assert saved.recheck([path], is_json=False, complain=print) == 1
    text = capsys.readouterr().out
    assert f"    known deviation: {name}\n    cause: vfio_pci_load_config() writes only" in text
    assert f"    reproduce with: vfio-multifd repro {name}\n" in text


def test_violation_that_nobody_knows_is_not_called_known(tmp_path, capsys):
    assert saved.recheck([save(violated_run(), tmp_path)], is_json=True, complain=print) == 1
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["known"] is None
    assert run["deviations"] == []


def test_bug_of_a_rule_is_a_traceback_and_loses_that_run_only(tmp_path, capsys, monkeypatch):
    """Its directory is named, and the others are judged all the same."""
    bad, fine = save(valid_run(), tmp_path, "bad"), save(valid_run(), tmp_path, "fine")

    def judge_or_fail(history):
        if history.manifest.ended_ns < 0:
            raise KeyError("typo")
        return judge(history)

    manifest = json.loads((bad / "manifest.json").read_text()) | {"ended_ns": -1}
    (bad / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(saved, "judge", judge_or_fail)
    told: list[str] = []
    assert saved.recheck([tmp_path], is_json=True, complain=told.append) == 3
    out, err = capsys.readouterr()
    assert "Traceback (most recent call last):" in err
    assert err.endswith("KeyError: 'typo'\n")
    assert told == [f"{bad}: KeyError('typo'): a bug of the harness"]
    lost, judged = json.loads(out)["runs"]
    assert (lost["path"], lost["outcome"]) == (str(bad), "lost")
    assert (judged["path"], judged["outcome"]) == (str(fine), "valid")


def test_damaged_history_is_one_line_and_no_bug(tmp_path, capsys):
    path = save(valid_run(), tmp_path)
    lines = (path / "history.jsonl").read_text().replace('"idx"', '"index"')
    (path / "history.jsonl").write_text(lines)
    told: list[str] = []
    assert saved.recheck([path], is_json=True, complain=told.append) == 3
    assert capsys.readouterr().err == ""
    (line,) = told
    assert "missing required field `idx`" in line
    assert "\n" not in line
