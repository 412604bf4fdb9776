"""**Standstill**: nothing moves on either side, long before the deadline.

A migration that hangs is waited for no longer than it takes to be sure of it.  For
``standstill_s`` there was no record (no event or answer of QMP, no packet, no access to a device,
no word of a guest) and no line of a trace, and all threads were asleep and were given no time
slice: those of both QEMUs, and those of the harness that serve them (relay, supervisors, replay),
so that no byte can have moved.  ``harness.vm.threads`` has how the kernel counts.

This could be wrong in two ways.

It could call a standstill what is none:

- The machine is too busy.  A thread that waits for a processor is runnable, not asleep.  Time in
  which the harness's own loop did not run when it should have is not counted, and is recorded.
- QEMU was stopped (SIGSTOP, a debugger), or waits for a disk: its state is not that of sleep.
- The scenario waits on purpose, for a time.  A fault that delays, holds or paces has a timer in the
  relay (``Link.is_waiting``), a slow device has one in its supervisor (``Attachments.is_waiting``),
  bandwidth is limited by QEMU's migration thread, which wakes ten times a second, and an action may
  wait for samples of memory, which come by themselves (``Actions.counts_time``).  A device of the
  kernel may be slow without a sign of it: with one there is no standstill.
- A guest runs: its vCPU consumes time, under TCG and KVM.
- The scenario waits on purpose, for good: a packet is dropped, a fault holds until it is notified.
  Nothing moves then in a correct QEMU either.  So who judges is asked whether what is seen violates
  a requirement (``session.assessment``); if it does not, ``deadline_s`` keeps its meaning.
- QEMU itself sleeps for longer than ``standstill_s``, to go on then: no version does.

One thread of each QEMU may **spin** (``harness.vm.threads``) while all others sleep, if it is not
the main loop or a vCPU: it waits for what another thread writes, so nothing moves either.  But it
may also compute something, for long, that ends: a standstill with one ends the wait only if what
is seen is a known deviation, never for a new one, and not before the thread has had a processor
for ``SPUN_NS``.

It could miss a standstill: QEMU's main loop wakes for timers, and so does a vCPU that is halted.
They may, for ``SPARE_NS`` in all, while all other threads sleep: without these neither moves a
migration.
A thread that waits with a short time limit, as ThreadSanitizer's own does, hides a standstill; then
the deadline ends the wait, as it always did.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from harness.history.process import Memory
from harness.history.session import Standstill
from harness.session.log import Log
from harness.session.peer import Peer
from harness.vm.activity import Activity
from harness.vm.threads import RUNNABLE, Threads, are_asleep, have_run, spins, threads_of

T = TypeVar("T")
U = TypeVar("U")

LOOK_S = 0.1
SPARE_NS = 20_000_000
SPUN_NS = 1_000_000_000
_VCPU = "CPU "  # the names of vCPU threads begin so (accel/)


class _Look(NamedTuple):
    """What would differ if anything had moved."""

    traces: int
    qemus: dict[int, Threads]
    """By pid, without those that spin."""
    own: Threads
    spinning: dict[int, Threads]
    """Of each pid at most one, which runs."""


async def until_either(
    activity: Activity,
    seen: Callable[[], T | None],
    other: Callable[[], Awaitable[U]],
    timeout_s: float,
) -> T | U | None:
    """Wait until ``seen()`` is not None, or ``other()`` returns, and return that; None if neither
    came within ``timeout_s``.
    """
    returned: U | None = None

    async def wait() -> None:
        nonlocal returned
        returned = await other()
        activity.notify()

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(wait())
        try:
            return await activity.until(
                lambda: returned if (found := seen()) is None else found, timeout_s
            )
        except TimeoutError:
            return None  # raised in here, the group would wrap it
        finally:
            waiting.cancel()


class StandstillWatch:
    """Sees how long nothing has moved.

    :param own_threads: ids of the harness's threads that serve the QEMUs
    :param is_waiting: whether something waits on purpose, and for a time
    :param still_s: how long is a standstill; 0 if none is
    """

    def __init__(
        self,
        peers: Sequence[Peer],
        log: Log,
        own_threads: Callable[[], Iterable[int]],
        is_waiting: Callable[[], bool],
        still_s: float,
    ) -> None:
        self._peers = peers
        self._log = log
        self._own_threads = own_threads
        self._is_waiting = is_waiting
        self._still_s = still_s
        self._read = 0
        self._records = 0

    async def until_still(self) -> Standstill:
        """Wait until nothing has moved for ``still_s``; what was seen then."""
        if not self._still_s:
            await asyncio.Event().wait()
        since: _Look | None = None
        still = uncounted = 0.0
        looked = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_S)
            before, looked = looked, time.monotonic()
            now = self._look()
            if now is None or since is None or _has_moved(since, now):
                since, still, uncounted = now, 0.0, 0.0
                continue
            if looked - before < 2 * LOOK_S:
                still += looked - before
            else:  # this loop did not run
                uncounted += looked - before
            if still >= self._still_s and _have_spun(since, now):
                threads = {str(p.side): len(now.qemus[p.pid]) for p in self._running}
                spinning = {
                    str(p.side): found.name
                    for p in self._running
                    for found in now.spinning[p.pid].values()
                }
                return Standstill(round(still, 3), round(uncounted, 3), threads, spinning)

    @property
    def seen(self) -> tuple[int, int]:
        """How many records there are, and how many bytes of traces: what a judge can know."""
        self._has_new_records()
        return self._records, self._traces

    @property
    def _running(self) -> list[Peer]:
        return [peer for peer in self._peers if peer.vm.is_running]

    @property
    def _traces(self) -> int:
        return sum(peer.trace_bytes for peer in self._peers)

    def _has_new_records(self) -> bool:
        """Whether there are any since it was asked last; samples of memory come by themselves."""
        new = self._log.records[self._read :]
        self._read += len(new)
        count = sum(not isinstance(record.args, Memory) for record in new)
        self._records += count
        return count > 0

    def _look(self) -> _Look | None:
        """What is seen now; None if that shows already that something moves, or may."""
        if self._has_new_records() or self._is_waiting():
            return None  # most looks end here: the threads are only read where they matter
        try:
            qemus = {peer.pid: threads_of(peer.pid) for peer in self._running}
            own = threads_of(os.getpid(), frozenset(self._own_threads()))
        except OSError:
            return None
        spinning = {pid: _runs_alone(pid, threads) for pid, threads in qemus.items()}
        asleep = {
            pid: {tid: thread for tid, thread in threads.items() if tid not in spinning[pid]}
            for pid, threads in qemus.items()
        }
        if not all(map(are_asleep, (*asleep.values(), own))):
            return None
        return _Look(self._traces, asleep, own, spinning)


def _has_moved(since: _Look, now: _Look) -> bool:
    """Whether anything has moved in between."""
    if now.traces != since.traces or now.qemus.keys() != since.qemus.keys():
        return True
    return have_run(since.own, now.own) or any(
        have_run(since.qemus[pid], threads, _spared(pid, threads), SPARE_NS)
        or since.spinning[pid].keys() != now.spinning[pid].keys()
        or not all(spins(since.spinning[pid][tid], it) for tid, it in now.spinning[pid].items())
        for pid, threads in now.qemus.items()
    )


def _have_spun(since: _Look, now: _Look) -> bool:
    """Whether each thread that spins had a processor for so long that it would have gone on."""
    return all(
        thread.run_ns - since.spinning[pid][tid].run_ns >= SPUN_NS
        for pid, threads in now.spinning.items()
        for tid, thread in threads.items()
    )


def _runs_alone(pid: int, threads: Threads) -> Threads:
    """The only thread of ``threads`` that is runnable, if it may spin; else none."""
    runnable = {tid: thread for tid, thread in threads.items() if thread.state == RUNNABLE}
    return runnable if len(runnable) == 1 and not runnable.keys() & _spared(pid, threads) else {}


def _spared(pid: int, threads: Threads) -> frozenset[int]:
    """The main loop and the vCPUs of a QEMU."""
    vcpus = (tid for tid, thread in threads.items() if thread.name.startswith(_VCPU))
    return frozenset((pid, *vcpus))
