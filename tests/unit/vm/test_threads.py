"""What the kernel keeps of threads, as files and of a real process."""

import signal
import subprocess
import time

import pytest

from harness.vm import threads as module
from harness.vm.threads import Thread, are_asleep, have_run, spins, threads_of


@pytest.fixture
def proc(tmp_path, monkeypatch):
    """Makes a thread in a /proc of its own."""
    monkeypatch.setattr(module, "PROC", tmp_path)

    def make(tid, stat, schedstat, status=""):
        folder = tmp_path / "7" / "task" / str(tid)
        folder.mkdir(parents=True)
        (folder / "stat").write_text(stat)
        (folder / "schedstat").write_text(schedstat)
        (folder / "status").write_text(status)

    return make


STAT = "1 2 3 4 5 6 7 8 9 10 11 {stime} 13"  # what follows the state
STATUS = "Name:\tCPU 0/TCG\nvoluntary_ctxt_switches:\t6\nnonvoluntary_ctxt_switches:\t9\n"


def test_name_state_and_times_are_read(proc):
    proc(7, f"7 (a (b) c) S {STAT.format(stime=4)}", "1500 20 3\n", STATUS)
    proc(9, f"9 (CPU 0/TCG) R {STAT.format(stime=0)}", "9 0 1\n", STATUS)
    sleeps, runs = Thread("a (b) c", "S", 1500, 3, 0, 4), Thread("CPU 0/TCG", "R", 9, 1, 6, 0)
    assert threads_of(7) == {7: sleeps, 9: runs}
    assert threads_of(7, frozenset({9})).keys() == {9}


def test_process_or_thread_that_is_gone_is_an_error(proc):
    with pytest.raises(OSError, match="No such file"):
        threads_of(7)
    proc(7, f"7 (a) S {STAT.format(stime=0)}", "1 0 1\n")
    with pytest.raises(OSError, match="No such file"):
        threads_of(7, frozenset({8}))


def test_kernel_without_schedstats_is_an_error(proc):
    """Else every thread would look as if it never ran."""
    proc(7, "7 (a) S 1", "0 0 0\n")
    with pytest.raises(OSError, match="keeps none"):
        threads_of(7)


def test_kernel_that_counts_no_switches_is_an_error(proc):
    """Else every thread that runs would look as if it spun."""
    proc(7, f"7 (a) R {STAT.format(stime=0)}", "1 0 1\n", "Name:\ta\n")
    with pytest.raises(OSError, match="context switches"):
        threads_of(7)


def of(*threads):
    return dict(enumerate(threads))


SLEEPS = Thread("main", "S", 100, 10)


@pytest.mark.parametrize("state", ["R", "D", "T", "t", "Z", "X", "I"])
def test_thread_that_waits_for_processor_or_disk_or_was_stopped_is_not_asleep(state):
    assert are_asleep(of(SLEEPS, SLEEPS))
    assert not are_asleep(of(SLEEPS, SLEEPS._replace(state=state)))


@pytest.mark.parametrize(
    ("now", "has_run"),
    [
        (of(SLEEPS), False),
        (of(SLEEPS._replace(slices=11)), True),
        (of(SLEEPS._replace(run_ns=101)), True),
        (of(SLEEPS, SLEEPS), True),
        (of(), True),
    ],
    ids=["no", "a slice", "some time", "one has begun", "one has ended"],
)
def test_least_thing_that_a_thread_does_is_seen(now, has_run):
    assert have_run(of(SLEEPS), now) is has_run


def test_spared_threads_may_wake_for_their_timers_but_not_work():
    before = of(SLEEPS, SLEEPS, SLEEPS)
    wakes = SLEEPS._replace(run_ns=150, slices=12)
    assert not have_run(before, of(wakes, wakes, SLEEPS), frozenset({0, 1}), 100)
    assert have_run(before, of(wakes, wakes, SLEEPS), frozenset({0, 1}), 99), "of all together"
    assert have_run(before, of(SLEEPS, SLEEPS, wakes), frozenset({0, 1}), 100), "not spared"


RUNS = Thread("pool-0", "R", 100, 10, 6, 50)


@pytest.mark.parametrize(
    ("before", "now", "is_spinning"),
    [
        (RUNS, RUNS._replace(run_ns=10**9, slices=20), True),
        (RUNS, RUNS._replace(system_ticks=52), True),
        (RUNS, RUNS._replace(system_ticks=53), False),
        (RUNS, RUNS._replace(yields=7), False),
        (RUNS, RUNS._replace(state="S"), False),
        (RUNS._replace(state="S"), RUNS, False),
    ],
    ids=["runs", "an interrupt", "system calls", "has slept", "sleeps", "was woken"],
)
def test_thread_that_never_sleeps_nor_enters_the_kernel_spins(before, now, is_spinning):
    assert spins(before, now) is is_spinning


@pytest.fixture
def process():
    """A real one, that sleeps at first and is busy after a line of input."""
    busy = "import sys; sys.stdin.readline()\nwhile True: pass"
    with subprocess.Popen(["python3", "-ISc", busy], stdin=subprocess.PIPE, text=True) as running:
        yield running
        running.kill()


def until(condition):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)  # noqa: TID251 - the kernel does not notify
    pytest.fail("it did not come to that")


def test_real_process_that_sleeps_works_and_is_stopped(process):
    def is_asleep():
        return are_asleep(threads_of(process.pid))

    until(is_asleep)
    before = threads_of(process.pid)
    until(lambda: not have_run(before, threads_of(process.pid)))
    process.stdin.write("go\n")
    process.stdin.flush()
    until(lambda: have_run(before, threads_of(process.pid)))
    until(lambda: not is_asleep())

    def has_spun():
        before = threads_of(process.pid)[process.pid]
        until(lambda: threads_of(process.pid)[process.pid].run_ns > before.run_ns + 50_000_000)
        return spins(before, threads_of(process.pid)[process.pid])

    until(has_spun)  # the interpreter may still have been starting
    process.send_signal(signal.SIGSTOP)
    until(lambda: threads_of(process.pid)[process.pid].state == "T")
    assert not is_asleep()
