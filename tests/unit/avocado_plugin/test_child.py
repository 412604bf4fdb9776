"""A child ends by itself, or is ended: teardown first, then SIGKILL, and nothing stays."""

import contextlib
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

from harness.avocado_plugin.child import Child


def child(code: str, grace_s: float = 20.0, **how) -> Child:
    return Child([sys.executable, "-c", code], cwd=Path.cwd(), grace_s=grace_s, **how)


def until(output, words: bytes) -> None:
    seen = b""
    for chunk in output:
        seen += chunk
        if words in seen:
            return
    raise AssertionError(seen)


def test_output_and_exit_status_are_told():
    it = child(r"import os; os.write(1, b'one\xff'); os.write(2, b'two'); raise SystemExit(3)")
    assert b"".join(it.output()) == b"one\xfftwo"
    assert it.how() == "ended with exit status 3"
    assert (it.terminated, it.killed, it.left_behind) == (False, False, False)


def test_standard_output_may_go_to_a_file(tmp_path):
    it = child("import os; os.write(1, b'one'); os.write(2, b'two')", stdout=tmp_path / "out")
    assert b"".join(it.output()) == b"two"
    assert (tmp_path / "out").read_bytes() == b"one"


def test_death_by_a_signal_is_told():
    it = child("import os, signal; os.kill(os.getpid(), signal.SIGABRT)")
    assert b"".join(it.output()) == b""
    assert it.how() == "ended by SIGABRT"


def test_child_that_closes_its_output_is_still_waited_for():
    it = child("import os, time; os.close(1); os.close(2); time.sleep(0.5); os._exit(4)")
    assert b"".join(it.output()) == b""
    assert it.returncode == 4


def test_sigterm_gives_the_child_time_to_tear_down():
    it = child(
        "import os, signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'torn down'), sys.exit(5)))\n"
        "os.write(1, b'up')\nsignal.pause()"  # print() is not reentrant
    )
    output = it.output()
    until(output, b"up")
    before = signal.getsignal(signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    assert b"torn down" in b"".join(output)
    assert it.terminated
    assert not it.killed
    assert it.returncode == 5
    assert signal.getsignal(signal.SIGTERM) != before, "the handler is taken back"


def test_child_that_does_not_end_in_time_is_killed():
    it = child(
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('up', flush=True)\nwhile True: signal.pause()",
        grace_s=0.1,
    )
    output = it.output()
    until(output, b"up")
    os.kill(os.getpid(), signal.SIGTERM)
    list(output)
    assert it.killed
    assert it.returncode == -signal.SIGKILL


def test_process_that_is_left_in_the_group_is_killed_and_told():
    it = child(
        "import subprocess\np = subprocess.Popen(['sleep', '600'])\nprint(p.pid, flush=True)"
    )
    pid = int(b"".join(it.output()))
    assert it.left_behind
    with contextlib.suppress(ProcessLookupError):  # it is gone already
        assert select.select([os.pidfd_open(pid)], [], [], 30)[0], "it lives on"


def test_runner_that_throws_its_child_out_ends_it():
    it = child("import signal\nprint('up', flush=True)\nsignal.pause()")
    output: Any = it.output()  # a generator, which can be closed
    until(output, b"up")
    output.close()
    assert it.returncode == -signal.SIGKILL


def test_interrupt_of_the_terminal_is_left_to_avocado():
    it = child("import os, sys\nprint('up', flush=True)\nsys.stdin.read()\nos.write(1, b'end')")
    output = it.output()
    first = next(output)
    os.kill(os.getpid(), signal.SIGINT)
    assert (first + b"".join(output)).endswith(b"end")
    assert not it.terminated
