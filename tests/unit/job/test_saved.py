"""Saved runs are found and judged again."""

import json

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.errors import UsageError
from harness.job import saved
from tests.unit.saved_runs import save, valid_run


def test_run_directory_is_found_by_any_of_its_files(tmp_path):
    path = save(valid_run(), tmp_path)
    assert saved.run_dirs(path) == [path]
    assert saved.run_dirs(tmp_path) == [path]
    (path / "manifest.json").unlink()
    assert saved.run_dirs(tmp_path) == [path]


def test_folder_without_runs_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="no run directory"):
        saved.run_dirs(tmp_path)


def test_bug_of_a_rule_is_a_traceback_and_loses_that_run_only(tmp_path, capsys, monkeypatch):
    """Its directory is named, and the others are still judged."""
    bad, fine = save(valid_run(), tmp_path, "bad"), save(valid_run(), tmp_path, "fine")

    def judge_or_fail(history):
        if history.manifest.ended_ns < 0:
            raise KeyError("typo")
        return judge(history)

    manifest = json.loads((bad / "manifest.json").read_text()) | {"ended_ns": -1}
    (bad / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr("harness.check.judge.judge", judge_or_fail)
    complaints: list[str] = []
    lost, judged = saved.saved(tmp_path, complaints.append)
    assert complaints == [f"{bad}: KeyError('typo'): a bug of the harness"]
    assert (lost.path, lost.outcome, lost.exit_status) == (bad, None, 3)
    assert (judged.path, judged.outcome) == (fine, Outcome.VALID)
    err = capsys.readouterr().err
    assert "Traceback (most recent call last):" in err
    assert err.endswith("KeyError: 'typo'\n")


def test_damaged_history_is_one_line_and_no_bug(tmp_path, capsys):
    path = save(valid_run(), tmp_path)
    lines = (path / "history.jsonl").read_text().replace('"idx"', '"index"')
    (path / "history.jsonl").write_text(lines)
    complaints: list[str] = []
    (lost,) = saved.saved(path, complaints.append)
    assert lost.exit_status == 3
    assert capsys.readouterr().err == ""
    (line,) = complaints
    assert "missing required field `idx`" in line
    assert "\n" not in line
