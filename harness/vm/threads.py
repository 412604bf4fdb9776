"""Whether a process's threads run, by what the kernel keeps of them (proc(5), schedstats).

``schedstat`` counts every time slice that a thread was given and the time that it ran, to the
nanosecond, so nothing that it does between two looks is missed.  A thread that waits for a
processor has the state R, one that waits for a disk D, one that was stopped T or t: none of these
is asleep.

A thread **spins** if it runs, never gives its processor up of itself (``voluntary_ctxt_switches``),
and is in user mode only: no system call, so it can neither be woken nor have moved a byte by one.
It can only read what others write.
"""

from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
_SLEEPING = "S"
RUNNABLE = "R"
_TICKS_BY_CHANCE = 2
"""Where the kernel samples the times, an interrupt may count as the thread's own."""
_STIME = 11  # of the fields of stat that follow the state


class Thread(NamedTuple):
    """One thread, at one look.

    :ivar state: its letter in ``stat``
    :ivar run_ns: how long it has run
    :ivar slices: how many time slices it was given
    :ivar yields: how often it gave its processor up of itself; known of a runnable thread, else 0
    :ivar system_ticks: how long it was in the kernel, in ticks (1/100 s)
    """

    name: str
    state: str
    run_ns: int
    slices: int
    yields: int = 0
    system_ticks: int = 0


Threads = dict[int, Thread]
"""By thread id."""


def threads_of(pid: int, only: frozenset[int] | None = None) -> Threads:
    """The threads of ``pid``, or those with the ids ``only``.

    :raise OSError: the process or a thread has gone, or the kernel has no schedstats
    """
    folder = PROC / str(pid) / "task"
    tids = only if only is not None else {int(task.name) for task in folder.iterdir()}
    return {tid: _thread(folder / str(tid)) for tid in tids}


def _thread(task: Path) -> Thread:
    # The name may hold spaces and parentheses.
    start, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(")")
    state, *fields = rest.split()
    run_ns, _, slices = (task / "schedstat").read_text().split()
    if not int(slices):  # a thread that is there has run
        raise FileNotFoundError(f"{task}/schedstat: the kernel keeps none")
    yields = _yields(task) if state == RUNNABLE else 0
    return Thread(start, state, int(run_ns), int(slices), yields, int(fields[_STIME]))


def _yields(task: Path) -> int:
    for line in (task / "status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "voluntary_ctxt_switches":
            return int(value)
    raise FileNotFoundError(f"{task}/status: the kernel counts no context switches")


def are_asleep(threads: Threads) -> bool:
    """Whether all of them are."""
    return all(thread.state == _SLEEPING for thread in threads.values())


def spins(before: Thread, now: Thread) -> bool:
    """Whether a thread has spun between two looks, or waited for a processor to spin on."""
    return (
        before.state == now.state == RUNNABLE
        and before.yields == now.yields
        and now.system_ticks - before.system_ticks <= _TICKS_BY_CHANCE
    )


def have_run(
    before: Threads, now: Threads, spared: frozenset[int] = frozenset(), spare_ns: int = 0
) -> bool:
    """Whether one has run since ``before``, has begun or has ended.

    :param spared: threads that may run for ``spare_ns`` in all, because timers wake them
    """
    if before.keys() != now.keys():
        return True
    used_ns = 0
    for tid, thread in now.items():
        if tid in spared:
            used_ns += thread.run_ns - before[tid].run_ns
        elif thread.slices != before[tid].slices or thread.run_ns != before[tid].run_ns:
            return True
    return used_ns > spare_ns
