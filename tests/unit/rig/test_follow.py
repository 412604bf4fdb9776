"""A process that is followed: its output, its end, and that it never outlives us."""

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import LaunchError
from harness.rig.follow import Pipe, follow

DEADLINE_S = 20.0
SLEEP = "import time; time.sleep(60)"


@pytest.fixture
def pipes():
    made = [Pipe(), Pipe()]
    yield made
    for pipe in made:
        pipe.close()


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_all_output_arrives_and_the_status(pipes, python):
    output, stderr = pipes
    got = {output: bytearray(), stderr: bytearray()}
    program = f"""
import os, sys
os.write({output.writing}, b"by number ")
with open("{output.path}", "ab") as file:
    file.write(b"x" * 300_000)
print("words", file=sys.stderr)
sys.exit(7)
"""
    sinks = {pipe: data.extend for pipe, data in got.items()}
    assert follow(python(program), sinks, stderr=stderr, deadline_s=DEADLINE_S) == 7
    assert got[output] == b"by number " + b"x" * 300_000
    assert got[stderr] == b"words\n"


def test_signal_is_a_negative_status(pipes, python):
    _, stderr = pipes
    program = "import os; os.kill(os.getpid(), 15)"
    sinks = {stderr: bytearray().extend}
    assert follow(python(program), sinks, stderr=stderr, deadline_s=DEADLINE_S) == -15


def test_it_is_killed_at_the_deadline(pipes):
    _, stderr = pipes
    got = bytearray()
    argv = ["sh", "-c", "echo $$; exec sleep 60"]
    started = time.monotonic()
    assert follow(argv, {stderr: got.extend}, stderr=stderr, deadline_s=1.0) is None
    assert time.monotonic() - started < DEADLINE_S
    assert not is_alive(int(got))


def test_it_is_killed_when_a_sink_raises(pipes, python):
    _, stderr = pipes
    pids = []

    def sink(data):
        pids.append(int(data))
        raise KeyboardInterrupt

    program = f"import os; print(os.getpid(), flush=True); {SLEEP}"
    with pytest.raises(KeyboardInterrupt):
        follow(python(program), {stderr: sink}, stderr=stderr, deadline_s=DEADLINE_S)
    assert not is_alive(pids[0])


FOLLOWER = f"""
import sys
from harness.rig.follow import Pipe, follow
pipe = Pipe()
program = "import os; print(os.getpid(), flush=True); {SLEEP}"
def show(data):
    print(data.decode(), end="", flush=True)
follow([sys.executable, "-c", program], {{pipe: show}}, stderr=pipe, deadline_s=60)
"""


def test_it_dies_with_a_harness_that_is_killed():
    with subprocess.Popen([sys.executable, "-c", FOLLOWER], stdout=subprocess.PIPE) as harness:
        assert harness.stdout is not None
        pid = int(harness.stdout.readline())
        pidfd = os.pidfd_open(pid)
        harness.send_signal(signal.SIGKILL)
    has_ended, _, _ = select.select([pidfd], [], [], DEADLINE_S)
    os.close(pidfd)
    assert has_ended


def test_interrupt_of_the_terminal_is_not_for_it(pipes, python):
    _, stderr = pipes
    got = bytearray()
    program = "import os; print(os.getsid(0) == os.getpid())"
    follow(python(program), {stderr: got.extend}, stderr=stderr, deadline_s=DEADLINE_S)
    assert got == b"True\n"


def test_guard_that_is_not_there_is_named(pipes, monkeypatch):
    _, stderr = pipes
    monkeypatch.setattr("harness.rig.follow.GUARD", ("/no/setpriv",))
    with pytest.raises(LaunchError, match="/no/setpriv true: No such file"):
        follow(["true"], {stderr: bytearray().extend}, stderr=stderr, deadline_s=DEADLINE_S)
