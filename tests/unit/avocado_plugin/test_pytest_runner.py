"""From what pytest told to the messages of avocado (whole jobs: tests/functional)."""

import json

import pytest
from avocado.core.nrunner.runnable import Runnable

from harness.avocado_plugin import pytest_runner
from harness.avocado_plugin.child import Child


def child(returncode: int = 0, **seen) -> Child:
    it = Child([], cwd=None, grace_s=0)
    it.returncode = returncode
    for name, value in seen.items():
        setattr(it, name, value)
    return it


def ended(outcome: str, reason: str = "") -> dict:
    return {
        "kind": "ended", "nodeid": "t", "outcome": outcome, "reason": reason, "details": "",
        "properties": [["bytes", 7]], "seconds": {"call": 0.5},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        ("passed", "pass"),
        ("xfailed", "pass"),
        ("xpassed", "warn"),
        ("failed", "fail"),
        ("error", "error"),
        ("skipped", "skip"),
    ],
)
def test_outcome_is_told_with_its_reason(outcome, result):
    *_, last = pytest_runner.result([ended(outcome, "why")], child(), b"")
    assert (last["result"], last["fail_reason"]) == (result, "why")


def test_what_was_recorded_and_measured_stands_on_the_whiteboard():
    first, _ = pytest_runner.result([ended("passed")], child(), b"")
    assert first["type"] == "whiteboard"
    assert json.loads(first["log"]) == {
        "outcome": "passed", "properties": [["bytes", 7]], "seconds": {"call": 0.5},
    }  # fmt: skip


def test_file_that_is_not_collected_is_an_error():
    line = {"kind": "not collected", "nodeid": "t", "outcome": "error", "reason": "r",
            "details": "d"}  # fmt: skip
    *_, last = pytest_runner.result([line], child(2), b"")
    assert (last["result"], last["fail_reason"], last["traceback"]) == ("error", "r", "d")


def test_pytest_that_dies_is_an_error_with_its_last_words():
    (last,) = pytest_runner.result([{"kind": "started"}], child(-11), b"one\nlast \xff words\n")
    assert last["result"] == "error"
    assert "ended by SIGSEGV" in last["fail_reason"]
    assert "last \\xff words" in last["fail_reason"]


def test_test_that_was_told_to_end_is_interrupted_whatever_it_says():
    (last,) = pytest_runner.result([ended("passed")], child(terminated=True), b"")
    assert last["result"] == "interrupted"
    assert "torn down" in last["fail_reason"]
    (last,) = pytest_runner.result([], child(terminated=True, killed=True), b"")
    assert "killed" in last["fail_reason"]


def test_runs_go_into_the_output_directory_and_parameters_become_options(tmp_path):
    leaves = [["/", [["/", "channels", 8]]]]
    runnable = Runnable("pytest", "t.py::test", variant={"variant": leaves, "variant_id": "v"},
                        output_dir=str(tmp_path), rootdir="/")  # fmt: skip
    argv = pytest_runner.command(runnable, tmp_path / "told")
    assert f"--runs={tmp_path}/runs" in argv
    assert "--channels=8" in argv
    assert argv[-1] == "t.py::test"


def test_parameter_that_is_no_option_is_an_error(tmp_path):
    leaves = [["/", [["/", "chanels", 8]]]]
    runnable = Runnable("pytest", "t.py::test", variant={"variant": leaves, "variant_id": "v"},
                        rootdir=str(tmp_path))  # fmt: skip
    *_, last = pytest_runner.PytestRunner().run(runnable)
    assert last["result"] == "error"
    assert "chanels" in last["fail_reason"]
