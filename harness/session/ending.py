"""The **end** of a migration: waiting for both sides, and what is recorded if it does not come."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

from harness.history import Body, Side
from harness.history.process import Hung
from harness.history.session import Deadline, Standstill
from harness.scenario import Scenario
from harness.scenario.delays import delays_s, holds_s
from harness.scenario.fault_plan import Refusal, RefuseConnection
from harness.session import convergence
from harness.session.assessment import Assessment
from harness.session.log import Log
from harness.session.peer import Peer
from harness.session.source import SETTLE_S
from harness.session.standstill import StandstillWatch, until_either
from harness.vm import migration
from harness.vm.activity import Activity

T = TypeVar("T")

_QUIET_S = 1.0  # for the other side, where it is right not to end once one has failed
_IS_KNOWN = "it is a known deviation"

IfItEnded = Callable[[Sequence[tuple[Side, Body]]], Awaitable[Assessment | None]]
"""How the run would be judged if it ended now, with these records; None if it is not judged."""


def settle_s(scenario: Scenario) -> float:
    """Seconds for the other side to end: a device that is slow may still be read or written, and
    a fault may still hold something back.
    """
    needs_s = SETTLE_S + delays_s(scenario) + holds_s(scenario)
    return max(SETTLE_S, min(needs_s, scenario.deadline_s))


def _may_listen(scenario: Scenario) -> bool:
    """Whether it is right that the destination waits for another source."""
    return scenario.tls_mismatch is not None or any(
        isinstance(fault, RefuseConnection)
        and (fault.accepted, fault.how) == (0, Refusal.NOT_LISTENING)
        for fault in scenario.faults
    )


class _Hang(NamedTuple):
    """A standstill that is wrong."""

    standstill: Standstill
    asked: Sequence[Hung | None]
    assessment: Assessment


class Ending:
    """The end of the migration of ``peers``.

    :param give_up: called before a late QEMU is looked into
    :param watch: sees a standstill of all QEMUs
    :ivar is_late: something did not come in time
    """

    def __init__(
        self,
        scenario: Scenario,
        log: Log,
        activity: Activity,
        give_up: Callable[[], None],
        watch: StandstillWatch,
        if_it_ended: IfItEnded,
    ) -> None:
        self.is_late = False
        self._scenario = scenario
        self._log = log
        self._activity = activity
        self._give_up = give_up
        self._watch = watch
        self._if_it_ended = if_it_ended

    async def wait(self, *peers: Peer) -> str | None:
        """Wait until every side has ended, or one has failed and the other had its time; not
        longer than until they hang.

        The last side's status; None if it did not come.
        """

        def ends() -> list[str | None]:
            return [peer.end for peer in peers]

        def all_ended() -> list[str | None] | None:
            found = ends()
            return found if None not in found else None

        def one_failed_or_all_ended() -> list[str | None] | None:
            found = ends()
            failed = any(end not in (None, "completed") for end in found)
            return found if failed or None not in found else None

        def missing() -> str:
            waiting = [str(p.side) for p, end in zip(peers, ends(), strict=True) if end is None]
            return f"the end of {' and '.join(waiting)}{since}"

        scenario, loop = self._scenario, asyncio.get_running_loop()
        waits_s, since, began = scenario.deadline_s, "", loop.time()
        try:
            found = await self._until(one_failed_or_all_ended, waits_s, peers, missing)
            if isinstance(found, list) and None in found:
                waits_s = _QUIET_S if _may_listen(scenario) else settle_s(scenario)
                since, began = " after the other side had ended", loop.time()
                found = await self._until(all_ended, waits_s, peers, missing)
        except TimeoutError:
            if _may_listen(scenario) and migration.listens_on(*(peer.events for peer in peers)):
                return None
            if await convergence.call_off(peers, self._activity, self._log, scenario.deadline_s):
                return None
            await self.is_missing(peers, missing(), waits_s)
            return None
        if isinstance(found, _Hang):
            await self.is_missing(peers, missing(), round(loop.time() - began, 1), found)
            return None
        return found[-1]

    async def _until(
        self,
        seen: Callable[[], T | None],
        timeout_s: float,
        peers: Sequence[Peer],
        missing: Callable[[], str],
    ) -> T | _Hang:
        """Wait until ``seen()`` is not None, and return that; or why ``peers`` hang.

        :param missing: what is waited for, in words
        :raise TimeoutError: neither after ``timeout_s``
        """
        found = await until_either(
            self._activity, seen, lambda: self._until_hang(peers, missing), timeout_s
        )
        if found is None:
            raise TimeoutError
        return found

    async def _until_hang(self, peers: Sequence[Peer], missing: Callable[[], str]) -> _Hang:
        """Wait for a standstill that is wrong.  One that is right is not judged again before more
        was seen.
        """
        judged: tuple[int, int] | None = None
        while True:
            standstill = await self._watch.until_still()
            if self._watch.seen == judged:
                continue
            judged = self._watch.seen
            asked = await self._ask(peers, missing())
            late = Deadline(missing(), self._scenario.deadline_s, standstill.still_s)
            assessment = await self._assess(peers, [standstill, late], asked)
            # A thread that spins may be computing something, and go on: see StandstillWatch.
            ends = {Assessment.KNOWN, *([] if standstill.spinning else [Assessment.NEW])}
            if assessment in ends and self._watch.seen == judged:
                return _Hang(standstill, asked, assessment)

    async def is_missing(
        self,
        peers: Sequence[Peer],
        waiting_for: str,
        waited_s: float | None,
        hang: _Hang | None = None,
    ) -> None:
        """Record that ``waiting_for`` did not come, and where ``peers`` are instead.

        :param waited_s: how long was waited; None if ``waiting_for`` is a sentence that says it
        :param hang: why no longer, where it was not until the deadline
        """
        if hang is not None:
            self._log.record(hang.standstill)
        self._log.record(Deadline(waiting_for, self._scenario.deadline_s, waited_s))
        self.is_late = True
        self._give_up()
        asked = hang.asked if hang is not None else await self._ask(peers, waiting_for)
        known = hang.assessment if hang is not None else await self._assess(peers, [], asked)
        why_not = _IS_KNOWN if known is Assessment.KNOWN else ""
        async with asyncio.TaskGroup() as group:
            for peer, hung in zip(peers, asked, strict=True):
                pausing = peer.devices.paused
                group.create_task(peer.vm.record_hang(waiting_for, pausing, hung, why_not))

    async def _ask(self, peers: Sequence[Peer], waiting_for: str) -> Sequence[Hung | None]:
        """What each of ``peers`` answers; None for one that is gone."""
        return await asyncio.gather(*(peer.vm.ask(waiting_for) for peer in peers))

    async def _assess(
        self, peers: Sequence[Peer], more: Sequence[Body], asked: Sequence[Hung | None]
    ) -> Assessment | None:
        """How the run would be judged with what was found."""
        answers = [(p.side, hung) for p, hung in zip(peers, asked, strict=True) if hung]
        return await self._if_it_ended([*((Side.HARNESS, each) for each in more), *answers])
