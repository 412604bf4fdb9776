"""How long both sides get to end, and what ends the wait before that."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from harness.history import Side
from harness.history.process import Hung
from harness.history.session import Deadline, Standstill
from harness.scenario import MIB, DataPath, EmulatedDevice, LoadBehaviour, SaveBehaviour, Scenario
from harness.session.assessment import Assessment
from harness.session.ending import Ending, settle_s
from harness.session.log import Log
from harness.session.source import SETTLE_S
from harness.vm.activity import Activity


def waits(deadline_s: float, **fields) -> float:
    device = EmulatedDevice(id="vfio0", size=12 * MIB, data_path=DataPath.SUPERVISED, **fields)
    return settle_s(Scenario(name="slow", devices=(device,), deadline_s=deadline_s))


@pytest.mark.parametrize(
    ("fields", "deadline_s", "expected"),
    [
        ({}, 40, SETTLE_S),
        ({"load": LoadBehaviour(write_delay_s=0.5)}, 40, SETTLE_S + 6),
        ({"save": SaveBehaviour(read_delay_s=1)}, 40, SETTLE_S + 12),
        ({"load": LoadBehaviour(write_delay_s=600)}, 40, 40),
        ({"load": LoadBehaviour(write_delay_s=0.5)}, 1, SETTLE_S),
    ],
)
def test_slow_device_may_be_served_to_its_end_within_the_deadline(fields, deadline_s, expected):
    """Wrong the other way round: a QEMU that hangs is waited for longer than anybody needs."""
    assert waits(deadline_s, **fields) == expected


# -- standstill ---------------------------------------------------------------------------

STILL = Standstill(2.0, 0.0, {"source": 9})
RIGHT, KNOWN, NEW = Assessment.RIGHT, Assessment.KNOWN, Assessment.NEW


class Stalls:
    """A migration that does not move any more, and is assessed so, one after the other.

    :ivar hangs: ``record_hang`` of each peer, with why there is no backtrace
    """

    def __init__(
        self,
        assessments,
        *,
        deadline_s=3600.0,
        moves_between=True,
        stalls=True,
        ends=(),
        still=STILL,
    ):
        self.still = still
        self.assessments = list(assessments)
        self.assessed = []
        self.moves_between = moves_between
        self.stalls = stalls
        self.seen = (0, 0)
        self.log = Log()
        self.activity = Activity()
        self.hangs = []
        self.steps = []
        self.peers = [self.peer(side) for side in (Side.SOURCE, Side.DESTINATION)]
        for peer, end in zip(self.peers, ends, strict=False):
            peer.end = end
        scenario = Scenario(name="stalls", deadline_s=deadline_s)
        watch: Any = self
        self.ending = Ending(
            scenario, self.log, self.activity, lambda: self.steps.append("gives up"), watch,
            self.if_it_ended,
        )  # fmt: skip

    def peer(self, side):
        async def ask(waiting_for):
            self.steps.append("asks")
            return Hung(waiting_for, "", False, True)

        async def record_hang(waiting_for, _attaching, asked, why_not):
            assert asked.waiting_for == waiting_for
            self.hangs.append(why_not)

        vm = SimpleNamespace(ask=ask, record_hang=record_hang, is_running=True)
        devices = SimpleNamespace(paused=None)
        return SimpleNamespace(side=side, end=None, events=[], vm=vm, devices=devices)

    async def until_still(self):
        if not self.stalls:
            await asyncio.Event().wait()
        await asyncio.sleep(0.001)
        if self.moves_between:
            self.seen = (self.seen[0] + 1, 0)
        return self.still

    async def if_it_ended(self, more):
        self.assessed.append([body for _, body in more])
        return self.assessments.pop(0) if self.assessments else RIGHT

    async def wait(self):
        async with asyncio.timeout(60):
            return await self.ending.wait(*self.peers)

    @property
    def recorded(self):
        return [record.args for record in self.log.records]


@pytest.mark.parametrize(("assessment", "why_not"), [(KNOWN, "it is a known deviation"), (NEW, "")])
async def test_standstill_that_is_wrong_ends_the_wait_and_is_recorded(assessment, why_not):
    stalls = Stalls([assessment])
    assert await stalls.wait() is None
    still, deadline = stalls.recorded
    assert still is STILL
    assert deadline.waiting_for == "the end of source and destination"
    assert deadline.deadline_s == 3600.0
    assert deadline.waited_s < 60
    assert stalls.ending.is_late
    assert stalls.hangs == [why_not] * 2
    assert stalls.steps == ["asks", "asks", "gives up"], "both are asked once"
    assert [type(body) for body in stalls.assessed[0]] == [Standstill, Deadline, Hung, Hung]


@pytest.mark.parametrize("assessment", [RIGHT, None], ids=["right", "not judged"])
async def test_standstill_that_is_right_does_not_end_the_wait(assessment):
    """A destination that waits for a packet that was dropped has to wait until the deadline."""
    stalls = Stalls([assessment] * 3, deadline_s=0.5, moves_between=False)
    assert await stalls.wait() is None
    (deadline,) = stalls.recorded
    assert deadline.waited_s == 0.5
    assert len(stalls.assessed) == 2, "once, as nothing new was seen; and at the deadline"


async def test_standstill_with_a_thread_that_spins_ends_only_a_known_hang():
    """It may be computing something, and go on: only a known hang is sure to last."""
    still = Standstill(2.0, 0.0, {"source": 9}, {"source": "pool-0"})
    stalls = Stalls([NEW, NEW, KNOWN], still=still)
    assert await stalls.wait() is None
    assert still in stalls.recorded
    assert len(stalls.assessed) == 3


async def test_standstill_that_was_right_may_become_wrong():
    stalls = Stalls([RIGHT, None, KNOWN])
    assert await stalls.wait() is None
    assert STILL in stalls.recorded
    assert len(stalls.assessed) == 3


async def test_end_that_comes_ends_the_wait():
    stalls = Stalls([], ends=("completed", None))
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(stalls.wait())
        await asyncio.sleep(0.01)
        stalls.peers[1].end = "completed"
        stalls.activity.notify()
    assert waiting.result() == "completed"
    assert stalls.recorded == []


async def test_other_side_that_does_not_move_after_a_failure_is_not_waited_for():
    stalls = Stalls([KNOWN], ends=("failed", None))
    assert await stalls.wait() is None
    _, deadline = stalls.recorded
    assert deadline.waiting_for == "the end of destination after the other side had ended"
    assert deadline.waited_s < SETTLE_S


async def test_no_backtrace_of_a_known_hang_at_a_deadline_either():
    stalls = Stalls([KNOWN], deadline_s=0.01, stalls=False)
    assert await stalls.wait() is None
    (deadline,) = stalls.recorded
    assert deadline.waited_s == 0.01
    assert stalls.hangs == ["it is a known deviation"] * 2
    assert stalls.steps == ["gives up", "asks", "asks"]
