"""How long a process is waited for that was asked something.

Only time counts in which it could have answered: its threads that answer slept, or ran.  Where they
wait for a processor, or the harness itself does, the machine is too busy, and the wait is longer.
"""

import asyncio
import time

from harness.vm.threads import RUNNABLE, Threads, are_asleep, have_run, threads_of

ANSWER_S = 1.0
"""For a thread that is free to answer, or runs all the time."""
MOST_S = 15.0
"""For one that gets no processor."""
_ASLEEP_S = 0.5  # where no thread of the process runs at all
_STEP_S = 0.05
_MONITOR = "IO "  # the names of threads with an event loop begin so; the monitor has one


async def is_used_up(pid: int) -> bool:
    """Wait until ``pid`` has had its time to answer; False if it did not get that in ``MOST_S``."""
    counted, before = 0.0, _look(pid)
    began = looked = time.monotonic()
    while counted < ANSWER_S:
        await asyncio.sleep(_STEP_S)
        took, now = time.monotonic() - looked, _look(pid)
        looked += took
        if took < 2 * _STEP_S:
            counted += _counts(pid, before, now, took)
        if looked - began > MOST_S:
            return False
        before = now
    return True


def _look(pid: int) -> Threads:
    """Its threads; none if they cannot be seen."""
    try:
        return threads_of(pid)
    except OSError:
        return {}


def _counts(pid: int, before: Threads, now: Threads, took_s: float) -> float:
    """How much of ``took_s`` it had to answer."""
    if before and are_asleep(now) and not have_run(before, now):
        return took_s * ANSWER_S / _ASLEEP_S
    answering = {
        tid: thread
        for tid, thread in now.items()
        if tid in before and (tid == pid or thread.name.startswith(_MONITOR))
    }
    busy = [
        (thread.run_ns - before[tid].run_ns) / 1e9
        for tid, thread in answering.items()
        if thread.state == RUNNABLE
    ]
    return min(busy, default=took_s)
