"""The **end** of a migration: waiting for both sides, and what is recorded if it does not come."""

import asyncio
from collections.abc import Callable, Sequence

from harness.history.session import Deadline
from harness.scenario import Scenario
from harness.scenario.delays import delays_s
from harness.session import convergence
from harness.session.log import Log
from harness.session.peer import Peer
from harness.session.source import SETTLE_S
from harness.vm import migration
from harness.vm.activity import Activity

_QUIET_S = 1.0  # for the other side, where it is right not to end once one has failed


def settle_s(scenario: Scenario) -> float:
    """Seconds for the other side to end: a device that is slow may still be read or written."""
    return max(SETTLE_S, min(SETTLE_S + delays_s(scenario), scenario.deadline_s))


class Ending:
    """The end of the migration of ``peers``.

    :param give_up: called before a late QEMU is looked into
    :ivar is_late: something did not come in time
    """

    def __init__(
        self, scenario: Scenario, log: Log, activity: Activity, give_up: Callable[[], None]
    ) -> None:
        self.is_late = False
        self._scenario = scenario
        self._log = log
        self._activity = activity
        self._give_up = give_up

    async def wait(self, *peers: Peer) -> str | None:
        """Wait until every side has ended, or one has failed and the other had its time.

        The last side's status; None if the deadline passed.
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

        scenario = self._scenario
        waits_s, since = scenario.deadline_s, ""
        try:
            found = await self._activity.until(one_failed_or_all_ended, waits_s)
            if None in found:
                is_mismatch = scenario.tls_mismatch is not None
                waits_s = _QUIET_S if is_mismatch else settle_s(scenario)
                since = " after the other side had ended"
                found = await self._activity.until(all_ended, waits_s)
        except TimeoutError:
            if scenario.tls_mismatch and migration.listens_on(*(peer.events for peer in peers)):
                return None
            if await convergence.call_off(peers, self._activity, self._log, scenario.deadline_s):
                return None
            waiting = [str(p.side) for p, end in zip(peers, ends(), strict=True) if end is None]
            await self.is_missing(peers, f"the end of {' and '.join(waiting)}{since}", waits_s)
            return None
        return found[-1]

    async def is_missing(
        self, peers: Sequence[Peer], waiting_for: str, waited_s: float | None
    ) -> None:
        """Record that ``waiting_for`` did not come, and where ``peers`` are instead.

        :param waited_s: how long was waited; None if ``waiting_for`` is a sentence that says it
        """
        self._log.record(Deadline(waiting_for, self._scenario.deadline_s, waited_s))
        self.is_late = True
        self._give_up()
        async with asyncio.TaskGroup() as group:
            for peer in peers:
                group.create_task(peer.vm.record_hang(waiting_for, peer.devices.paused))
