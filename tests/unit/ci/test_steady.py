"""What ci/steady.sh says of the rounds, and that its busy processes end with it."""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.unit.ci.pipelines import ROOT


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A copy of it in a folder of its own, with what it needs."""
    for name in ("ci/steady.sh", "images/work.sh"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path / "ci/steady.sh"


def call(script: Path, *arguments: str, load: str = "1") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "STEADY_LOAD": load}
    return subprocess.run(
        [script, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_rounds_that_pass(script):
    done = call(script, "3", "echo ran")
    assert done.returncode == 0
    assert [line.partition(" after ")[0] for line in done.stdout.splitlines()] == [
        f"steady: round {number} of 3: echo ran: exit status 0" for number in (1, 2, 3)
    ]
    assert done.stderr == ""
    logs = script.parent.parent / ".cache/steady"
    assert [path.read_text() for path in sorted(logs.glob("*.log"))] == ["ran\n"] * 3


def test_failed_tests_are_counted(script):
    done = call(script, "2", "sh -c 'echo FAILED a.py::b - why; exit 1'", "true")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert "exit status 1" in lines[0]
    assert lines[1].strip() == "FAILED a.py::b"
    assert "true: exit status 0" in lines[2]
    assert lines[-2] == "steady: failed tests, by the number of rounds:"
    assert lines[-1].split() == ["2", "FAILED", "a.py::b"]


def test_failure_without_a_failed_test_counts(script):
    assert call(script, "1", "false").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "load", "words"),
    [
        (["often"], "1", "steady: often is not a number of rounds"),
        (["0"], "1", "steady: 0 is not a number of rounds"),
        (["1"], "much", "steady: STEADY_LOAD: much is not a number of processes"),
    ],
)
def test_bad_input_is_one_line_and_exit_4(script, arguments, load, words):
    done = call(script, *arguments, load=load)
    assert (done.returncode, done.stdout, done.stderr) == (4, "", f"{words}\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_busy_processes_end_with_it(script, tmp_path, number):
    started = tmp_path / "started"
    os.mkfifo(started)
    with subprocess.Popen(
        [script, "1", f"sh -c 'echo now >{started}; exec sleep 60'"],
        env={**os.environ, "STEADY_LOAD": "2"}, stdout=subprocess.PIPE, start_new_session=True,
    ) as steady:  # fmt: skip
        try:
            assert started.read_text() == "now\n"
            steady.send_signal(number)
            steady.communicate(timeout=60)  # the busy processes hold its standard output, too
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(steady.pid, signal.SIGKILL)
