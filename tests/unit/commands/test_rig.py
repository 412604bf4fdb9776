"""``rig``: what is run in it."""

from pathlib import Path

import pytest

from harness.rig import by_command
from tests.unit.called import one_line


@pytest.mark.parametrize("timeout", ["nan", "inf", "-5", "0", "soon"])
@pytest.mark.parametrize("argv", [("rig", "run"), ("qmp",)])
def test_time_limit_that_is_none_is_refused(call, argv, timeout):
    status, _, err = call(*argv, f"--timeout={timeout}", "x")
    assert status == 4
    assert f"'{timeout}' is not a number of seconds from 0.01 to 86400" in one_line(err)


def test_command_and_its_options_are_passed_on(call, monkeypatch):
    seen = []

    def run(argv, runs_dir, **how):
        seen.append((argv, runs_dir, how))
        return 7

    monkeypatch.setattr(by_command, "run", run)
    assert call(
        "rig", "run", "--runs", "r", "--writable", "w", "--timeout", "9", "--", "a", "-b"
    ) == (7, "", "")
    assert seen == [
        (["a", "-b"], Path("r"), {"qemu": "", "writable": [Path("w")], "deadline_s": 9.0})
    ]


def test_no_command_is_one_line_with_the_right_one(call):
    status, _, err = call("rig", "run", "--")
    assert status == 4
    assert "vfio-multifd rig run -- COMMAND ARGS..." in one_line(err)
