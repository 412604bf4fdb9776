"""``repro``: which findings are shown, and the exit status."""

from pathlib import Path

from harness.job import repro
from harness.job.settings import Settings
from tests.unit.called import one_line


def test_names_and_builds_are_passed_on(call, monkeypatch):
    seen = []

    def show(names, settings, runs_dir, trace_events, tell):
        seen.append((names, settings, runs_dir, trace_events))
        tell("a: shown")
        return 2

    monkeypatch.setattr(repro, "repro", show)
    argv = ("--qemu", "q", "--qemu-dst", "d", "--runs", "r", "--trace-events", "t")
    assert call("repro", "a", *argv) == (2, "a: shown\n", "")
    assert seen == [(["a"], Settings(qemu="q", qemu_dst="d"), Path("r"), "t")]


def test_finding_that_is_not_known_is_one_line(call):
    status, _, err = call("repro", "no-such-finding")
    assert status == 4
    assert "no-such-finding" in one_line(err)
