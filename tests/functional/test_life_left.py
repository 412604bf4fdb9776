"""LIF-13: what a QEMU holds after many migrations is what it held before."""

from typing import Any

import msgspec
import pytest

from harness.scenario import MIB, EmulatedDevice, Scenario
from harness.scenario.action_plan import Execute, Kill, Target, status
from harness.scenario.main_job import STAYS_ACTIVE

DEVICES = tuple(EmulatedDevice(id=f"vfio{number}", size=MIB, seed=number) for number in range(2))
ACTIVE = status(Target.SOURCE, "active")
ENDS: dict[str, Any] = {
    "cancelled": Execute(when=ACTIVE, target=Target.SOURCE, command="migrate_cancel"),
    "destination killed": Kill(when=ACTIVE, target=Target.DESTINATION),
    "completed": None,
}


@pytest.mark.requirement("LIF-13")
@pytest.mark.parametrize("end", ENDS)
async def test_nothing_is_left_of_three_migrations(judged_in_turn, kept, end) -> None:
    action = ENDS[end]
    fields: dict[str, Any] = {} if action is None else {"parameters": STAYS_ACTIVE}
    one = Scenario(
        name="left", devices=DEVICES, actions=() if action is None else (action,), **fields
    )
    then = tuple(msgspec.structs.replace(one, name=f"left-{number}") for number in range(2, 4))
    first, *following = await judged_in_turn(msgspec.structs.replace(one, then=then))
    assert "LIF-13" in first.verdict.not_applicable
    assert len(following) == 2
    for run in following:
        kept(run, "LIF-13")
