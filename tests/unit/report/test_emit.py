"""A report on standard output and as files: one that cannot be written keeps no other back."""

import json

import pytest

from harness.report.emit import emit
from tests.unit.saved_runs import entry, report, valid_run, violated_run


@pytest.fixture
def told(tmp_path, capsys):
    """Tells: (exit status, standard output, complaints)."""

    def call(made, *names, is_json=False):
        complaints: list[str] = []
        paths = [tmp_path / name for name in names]
        status = emit(made, paths, None, complaints.append, is_json=is_json, runs_printed=True)
        return status, capsys.readouterr().out, complaints

    return call


def test_status_is_the_reports(told):
    assert told(report(entry(valid_run())))[0] == 0
    assert told(report(entry(violated_run())))[0] == 1


def test_file_that_cannot_be_written_loses_neither_the_others_nor_what_is_printed(told, tmp_path):
    (tmp_path / "a.tap").mkdir()
    status, out, complaints = told(report(entry(violated_run())), "a.tap", "b.json")
    assert status == 4
    assert "ORD-1" in out
    assert json.loads((tmp_path / "b.json").read_bytes())["overall"] == "violated"
    (line,) = complaints
    assert "a.tap: cannot write the report: Is a directory" in line


def test_folder_of_a_report_is_made(told, tmp_path):
    assert told(report(entry(valid_run())), "fresh/in/r.tap")[0] == 0
    assert (tmp_path / "fresh/in/r.tap").stat().st_size


def test_interrupted_job_says_which_verdicts_it_has(told):
    made = report(
        entry(valid_run()),
        entry(violated_run()),
        interrupted="run 3 of 9, x",
        interrupted_status=143,
    )
    status, out, _ = told(made)
    assert status == 143
    words = " ".join(out.split())
    assert (
        "INTERRUPTED: run 3 of 9, x. 2 runs were judged before: 1 VIOLATED (liar); 1 valid."
        in words
    )
    assert json.loads(told(made, is_json=True)[1])["overall"] == "interrupted"


def test_interrupted_job_without_a_verdict_says_so(told):
    out = told(report(interrupted="run 1 of 9, x"))[1]
    assert "No run was judged before." in " ".join(out.split())
