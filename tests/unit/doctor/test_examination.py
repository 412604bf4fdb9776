"""The examination: one line a check, and an exit status that says whether the job can run."""

import json
from pathlib import Path

import pytest

from harness.doctor import examination
from harness.doctor.check import Check, State

OK = Check("disk", State.OK, "big")
OPTIONAL = Check("gdb", State.OPTIONAL, "not there", "apt-get install gdb")
MISSING = Check("setpriv", State.MISSING, "not there", "apt-get install util-linux")


@pytest.fixture
def report(monkeypatch, capsys):
    def report(*checks, is_json=False):
        monkeypatch.setattr(examination, "examine", lambda _qemus, _runs: iter(checks))
        status = examination.report([], Path("runs"), is_json=is_json)
        return status, capsys.readouterr().out

    return report


def test_machine_that_lacks_nothing_it_needs_exits_0(report):
    status, out = report(OK, OPTIONAL)
    assert status == 0
    assert "The main job can run here" in out


def test_machine_that_lacks_something_exits_3_and_names_it_again(report):
    status, out = report(OK, MISSING)
    assert status == 3
    assert out.rstrip().endswith("missing: setpriv.")


def test_each_line_begins_with_the_state_and_the_fix_follows(report):
    _, out = report(OK, MISSING, OPTIONAL)
    lines = out.splitlines()
    assert lines[0] == "ok        disk: big"
    assert lines[1] == "missing   setpriv: not there"
    assert lines[2].strip() == "-> apt-get install util-linux"
    assert lines[3].startswith("optional  gdb")


def test_json_is_one_document(report):
    status, out = report(OK, MISSING, is_json=True)
    found = json.loads(out)
    assert status == 3
    assert found["fit"] is False
    assert found["checks"][1] == {
        "what": "setpriv",
        "state": "missing",
        "found": "not there",
        "fix": "apt-get install util-linux",
    }


def test_everything_is_looked_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.rig.accelerator.DEVICE", tmp_path / "kvm")  # boots no kernel
    names = [check.what for check in examination.examine(["/no/such/qemu"], tmp_path)]
    assert len(names) == len(set(names)) == 19
