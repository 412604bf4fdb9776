"""A command in a rig: its output is ours, its status too."""

import pytest

from harness.errors import UsageError
from harness.rig import by_command, rig


def test_output_status_and_folders_are_passed_on(tmp_path, monkeypatch, capfdbinary):
    seen = {}

    def run(command, folder, *, on_stdout, on_stderr, **settings):
        seen.update(settings, command=command, folder=folder)
        (folder / "console.log").touch()
        on_stdout(b"out\xff")
        on_stderr(b"err")
        return 5

    monkeypatch.setattr(rig, "run", run)
    runs, more = tmp_path / "runs", tmp_path / "more"
    status = by_command.run(["true"], runs, qemu="q", writable=[more], deadline_s=3.0)
    assert status == 5
    assert capfdbinary.readouterr() == (b"out\xff", b"err")
    assert seen == {
        "command": ["true"],
        "folder": runs / "rig-0001",
        "qemu": "q",
        "writable": (runs, more),
        "deadline_s": 3.0,
    }
    assert (seen["folder"] / "console.log").exists()


def test_rig_that_was_never_started_leaves_no_folder(tmp_path):
    with pytest.raises(UsageError, match="no command"):
        by_command.run([], tmp_path / "runs")
    assert not list((tmp_path / "runs").iterdir())
