"""A time limit for an answer of a process: longer if the processor was not to be had.

An answer takes a processor three times: for the process's main thread, for its monitor's, and
for ours.  Time in which one of them waits for a processor does not count (the second field of
``schedstat``, sched-stats.rst of the kernel).  In a rig without KVM that is not seen, because its
processors are threads of another QEMU: the limit is longer there.

The limit is at most ``MOST`` times what was given.  Nothing is read before a tenth of it is over,
so an answer that comes at once costs nothing.
"""

import asyncio
import math
import os
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.vm.threads import PROC

MOST = 6
"""Times what was given."""
EMULATED = 4
"""Times what was given where the processor is an emulated one."""
_BEFORE_LOOK = 10  # the part of the limit before anything is read
_MONITOR = "IO "  # the names of threads with an event loop begin so; the monitor has one


class TimeLimit:
    """As ``asyncio.timeout``: raises TimeoutError out of its block.

    :param pid: the process that answers; None if it is not known
    """

    def __init__(self, timeout_s: float, pid: int | None) -> None:
        self._timeout_s = timeout_s
        self._pids = tuple(filter(None, (pid, os.getpid())))
        self._limit = asyncio.timeout(None)
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._before: dict[Path, int] = {}
        self._handle = self._loop.call_at(self._began + timeout_s / _BEFORE_LOOK, self._look)

    @property
    def waited_s(self) -> float:
        """How long it was waited, in a round number."""
        waited_s = self._loop.time() - self._began
        if waited_s < self._timeout_s:
            return round(waited_s, 1)
        return max(self._timeout_s, math.floor(waited_s))

    def give_up(self) -> None:
        """The time is over now."""
        if not self._limit.expired():
            self._limit.reschedule(self._loop.time())

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handle.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def _look(self) -> None:
        self._before = waited_ns(self._pids)
        self._handle = self._loop.call_at(self._began + self._timeout_s, self._decide)

    def _decide(self) -> None:
        now = waited_ns(self._pids)
        # The threads pass the answer on, so they wait one after the other.
        lost_s = sum(now[each] - self._before[each] for each in now.keys() & self._before) / 1e9
        timeout_s = self._timeout_s * (EMULATED if is_emulated() else 1) + lost_s
        until = self._began + min(timeout_s, self._timeout_s * MOST)
        if self._loop.time() >= until:
            self.give_up()
        else:
            self._handle = self._loop.call_at(until, self._decide)


def waited_ns(pids: tuple[int, ...]) -> dict[Path, int]:
    """How long each main thread and monitor's thread has waited for a processor, as far as the
    kernel keeps it."""
    found = {}
    for pid in pids:
        try:
            threads = [*(PROC / str(pid) / "task").iterdir()]
        except OSError:  # it has ended
            continue
        for thread in threads:
            try:
                if thread.name == str(pid) or (thread / "comm").read_text().startswith(_MONITOR):
                    found[thread] = int((thread / "schedstat").read_text().split()[1])
            except (OSError, IndexError):
                continue
    return found


@cache
def is_emulated() -> bool:
    """Whether this machine's processor is emulated by a QEMU (the name of target/i386/cpu.c)."""
    return "QEMU TCG CPU" in (PROC / "cpuinfo").read_text()
