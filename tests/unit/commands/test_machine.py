"""What the doctor is asked."""

from pathlib import Path

import pytest

from harness.doctor import examination
from tests.unit.called import one_line


def test_doctor_is_given_all_qemus(call, monkeypatch):
    seen = []

    def remember(qemus, runs_dir, *, is_json):
        seen.append((qemus, runs_dir, is_json))
        return 0

    monkeypatch.setattr(examination, "report", remember)
    assert call("doctor", "--qemu", "a", "--qemu", "b", "--json")[0] == 0
    assert seen == [(["a", "b"], Path("runs"), True)]


@pytest.mark.parametrize("timeout", ["nan", "inf", "-5", "0", "soon"])
@pytest.mark.parametrize("argv", [("rig", "run"), ("qmp",)])
def test_time_limit_that_is_none_is_refused(call, argv, timeout):
    status, _, err = call(*argv, f"--timeout={timeout}", "x")
    assert status == 4
    assert f"'{timeout}' is not a number of seconds from 0.01 to 86400" in one_line(err)
