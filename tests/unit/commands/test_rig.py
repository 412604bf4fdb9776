"""``rig``: what is run in it."""

import pytest

from harness import cli
from harness.rig import rig
from tests.unit.called import one_line


@pytest.mark.parametrize("timeout", ["nan", "inf", "-5", "0", "soon"])
@pytest.mark.parametrize("argv", [("rig", "run"), ("qmp",)])
def test_time_limit_that_is_none_is_refused(call, argv, timeout):
    status, _, err = call(*argv, f"--timeout={timeout}", "x")
    assert status == 4
    assert f"'{timeout}' is not a number of seconds from 0.01 to 86400" in one_line(err)


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
    argv = ("--runs", runs, "--writable", more, "--timeout", "3", "--qemu", "q", "--", "a", "-b")
    assert cli.main(["rig", "run", *map(str, argv)]) == 5
    assert capfdbinary.readouterr() == (b"out\xff", b"err")
    assert seen == {
        "command": ["a", "-b"],
        "folder": runs / "rig-0001",
        "qemu": "q",
        "writable": (runs, more),
        "deadline_s": 3.0,
    }
    assert (seen["folder"] / "console.log").exists()


def test_rig_that_was_never_started_leaves_no_folder(call, tmp_path):
    argv = ("--runs", tmp_path / "runs", "--writable", tmp_path / "none", "--", "true")
    status, _, err = call("rig", "run", *argv)
    assert status == 4
    assert "none: not a directory" in one_line(err)
    assert not list((tmp_path / "runs").iterdir())


def test_no_command_is_one_line_with_the_right_one(call):
    status, _, err = call("rig", "run", "--")
    assert status == 4
    assert "vfio-multifd rig run -- COMMAND ARGS..." in one_line(err)
