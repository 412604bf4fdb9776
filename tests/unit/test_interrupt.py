"""One signal ends the program, in each phase; nothing less, and not the clean-up."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import interrupt

ROOT = Path(__file__).resolve().parents[2]
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
BEGIN = """
import asyncio, os, signal, subprocess, sys, threading, time
from harness import interrupt

def ready():
    os.write(1, b"ready\\n")

def forever():
    while True:
        pass

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
interrupt.install()
"""
END = """
try:
    main()
except KeyboardInterrupt:
    os.write(1, b"left\\n")
interrupt.uninstall(is_over=True)
interrupt.leave() if interrupt.came() else sys.exit(0)
"""


class Program:
    """A program that prints ``ready`` where it is to be signalled."""

    def __init__(self, body: str, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", BEGIN + body + END],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{folder}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def end(self, *numbers: signal.Signals) -> tuple[int, str, str]:
        """Signal it: exit status, standard output and error."""
        for number in numbers:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@pytest.fixture
def program(tmp_path):
    made: list[Program] = []

    def make(body: str) -> Program:
        made.append(Program(body, tmp_path))
        return made[-1]

    yield make
    for each in made:
        each.process.kill()
        each.process.communicate()


@pytest.mark.parametrize("number", STATUS)
def test_import_before_anything_was_begun_ends_the_process_at_once(program, tmp_path, number):
    """Also one that would swallow an exception."""
    (tmp_path / "swallows.py").write_text(
        "import os\nos.write(1, b'ready\\n')\n"
        "while True:\n  try:\n    while True: pass\n  except BaseException: pass\n"
    )
    status, _, err = program("def main(): import swallows\n").end(number)
    assert status == STATUS[number]
    assert err == f"vfio-multifd: error: {interrupt.WORDS[number]}\n"


def test_import_after_something_was_begun_does_not_end_the_process_at_once(program, tmp_path):
    (tmp_path / "late.py").write_text("import os\nos.write(1, b'ready\\n')\nwhile True: pass\n")
    status, out, err = program(
        "def main():\n  interrupt.begin()\n  import late\n"
    ).end(signal.SIGTERM)  # fmt: skip
    assert (status, out, err) == (143, "left\n", "")


@pytest.mark.parametrize("number", STATUS)
def test_code_without_a_loop_is_left_by_an_exception(program, number):
    status, out, err = program("def main(): ready(); forever()\n").end(number)
    assert (status, out, err) == (STATUS[number], "left\n", "")


CLEANS_UP = """
async def work():
    try:
        ready()
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.3)
        os.write(1, b"clean\\n")

def main():
    interrupt.run(work())
"""


@pytest.mark.parametrize("number", STATUS)
def test_loop_is_left_by_cancelling_its_main_task(program, number):
    status, out, err = program(CLEANS_UP).end(number)
    assert (status, out, err) == (STATUS[number], "clean\nleft\n", "")


def test_more_signals_do_not_break_the_clean_up(program):
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    status, out, err = program(CLEANS_UP).end(*numbers)
    assert status in STATUS.values(), "the order of those that are pending is the kernel's"
    assert (out, err) == ("clean\nleft\n", "")


def test_what_is_held_is_known_to_who_started_it(program):
    body = """
def main():
    child = None
    try:
        with interrupt.held():
            ready()
            while not interrupt.came(): pass
            child = subprocess.Popen(["sleep", "1000"])
        os.write(1, b"not reached\\n")
    finally:
        child.kill()
        child.wait()
        os.write(1, b"known\\n")
"""
    assert program(body).end(signal.SIGTERM) == (143, "known\nleft\n", "")


def test_block_at_once_in_a_loop_is_left_though_it_does_not_await(program):
    body = """
async def work():
    with interrupt.at_once():
        ready()
        forever()

def main():
    interrupt.run(work())
"""
    assert program(body).end(signal.SIGINT) == (130, "left\n", "")


def test_block_at_once_is_not_entered_after_a_signal(program):
    body = """
async def work():
    ready()
    while not interrupt.came(): pass  # the cancellation comes at the next await only
    with interrupt.at_once():
        os.write(1, b"entered\\n")

def main():
    interrupt.run(work())
"""
    assert program(body).end(signal.SIGINT) == (130, "left\n", "")


def test_clean_up_that_does_not_end_is_cut_short_and_children_are_killed(program):
    body = """
def main():
    child = subprocess.Popen(["sleep", "1000"])
    print(child.pid, flush=True)
    try:
        ready()
        forever()
    finally:
        forever()
"""
    made = Program.__new__(Program)
    made.process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + body + END], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert made.process.stdout is not None
    child = int(made.process.stdout.readline())
    assert made.process.stdout.readline() == "ready\n"
    began = time.monotonic()
    status, _, err = made.end(signal.SIGTERM)
    assert time.monotonic() - began >= interrupt.LIMIT_S
    assert status == 143
    words = "vfio-multifd: error: terminated; the clean-up took longer than"
    assert re.fullmatch(f"{words} [0-9.]+ s\n", err)  # longer on a busy machine
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


@pytest.mark.parametrize("number", STATUS)
def test_exception_that_python_swallows_comes_again(program, number):
    body = """
import weakref

class Dying:
    pass

def spin(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until: pass

def main():
    dying = Dying()
    kept = weakref.ref(dying, lambda _ref: (ready(), spin(30)))
    del dying
    spin(30)
"""
    assert program(body).end(number) == (STATUS[number], "left\n", "")


def test_other_exceptions_that_python_swallows_are_printed(program):
    body = """
class Dying:
    def __del__(self):
        raise ValueError("of a finalizer")

def main():
    Dying()
    ready()
    forever()
"""
    status, out, err = program(body).end(signal.SIGINT)
    assert (status, out) == (130, "left\n")
    assert "ValueError: of a finalizer" in err


def test_hangup_that_is_ignored_stays_so(program):
    body = """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
interrupt.install()
def main():
    ready()
    forever()
"""
    assert program(body).end(signal.SIGHUP, signal.SIGTERM)[0] == 143


def test_interrupt_that_a_shell_has_ignored_is_taken(program):
    body = """
signal.signal(signal.SIGINT, signal.SIG_IGN)
interrupt.install()
def main():
    ready()
    forever()
"""
    assert program(body).end(signal.SIGINT)[0] == 130


def test_reader_that_went_away_ends_the_program_from_any_thread_and_quietly(program):
    body = """
def main():
    ready()
    threading.Thread(target=interrupt.end, args=(signal.SIGPIPE,)).start()
    forever()
"""
    made = program(body)
    assert made.end() == (141, "left\n", "")


def test_signal_after_the_end_changes_nothing(program):
    body = """
def main():
    interrupt.uninstall(is_over=True)
    ready()
    time.sleep(0.3)
"""
    assert program(body).end(signal.SIGTERM)[0] == 0


def test_handlers_are_as_they_were_after_a_call_that_is_no_program():
    before = [signal.getsignal(number) for number in interrupt.SIGNALS]
    interrupt.install()
    assert [signal.getsignal(number) for number in interrupt.SIGNALS] != before
    interrupt.uninstall(is_over=False)
    assert [signal.getsignal(number) for number in interrupt.SIGNALS] == before


def test_value_of_a_loop_is_given_on_with_and_without_signals():
    async def value() -> int:
        return 7

    assert interrupt.run(value()) == 7
    interrupt.install()
    try:
        assert interrupt.run(value()) == 7
    finally:
        interrupt.uninstall(is_over=False)


@pytest.mark.parametrize(
    ("running", "is_busy"), [("1", False), ("4", False), ("5", True), ("nonsense", False)]
)
def test_machine_is_busy_with_more_than_two_threads_for_each_processor(
    monkeypatch, tmp_path, running, is_busy
):
    there = tmp_path / "loadavg"
    there.write_text(f"0.10 0.20 0.30 {running}/449 1234\n")
    monkeypatch.setattr(interrupt, "_LOAD", str(there))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    assert interrupt.is_busy() is is_busy
    monkeypatch.setattr(interrupt, "_LOAD", str(tmp_path / "none"))
    assert not interrupt.is_busy()
