"""``replay``: what a job is asked to do with a capture."""

from pathlib import Path

from harness.job import job
from harness.job.runs import RunOptions
from harness.job.settings import Settings
from harness.scenario.fault_plan import Drop, Select
from tests.unit.called import one_line


def test_capture_and_options_are_passed_on(call, monkeypatch):
    seen = {}

    def replay(path, settings, options, *, complain):
        seen.update(path=path, settings=settings, options=options)
        return 2

    monkeypatch.setattr(job, "replay", replay)
    fault = '{"fault": "drop", "select": {"idx": [1]}}'
    argv = ("--qemu", "q", "--fault", fault, "--runs", "r", "--steps", "--json", "--no-progress")
    assert call("replay", "c", *argv, "--report", "x.tap", "--trace-events", "t") == (2, "", "")
    assert seen["path"] == Path("c")
    assert seen["settings"] == Settings(qemu="q", faults=(Drop(select=Select(idx=(1,))),))
    assert seen["options"] == RunOptions(
        runs_dir=Path("r"),
        trace_events="t",
        has_progress=False,
        has_steps=True,
        is_json=True,
        reports=[Path("x.tap")],
    )


def test_what_is_no_capture_is_one_line(call, tmp_path):
    (tmp_path / "x").write_bytes(b"nonsense")
    status, _, err = call("replay", tmp_path / "x", "--runs", tmp_path / "runs")
    assert status == 4
    assert "not a capture" in one_line(err)
    assert not (tmp_path / "runs").exists()
