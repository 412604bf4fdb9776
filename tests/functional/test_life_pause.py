"""LIF-15: migrate-pause is for postcopy only: refused in each status, and the migration goes on."""

import pytest

from harness.scenario import MIB, EmulatedDevice, SaveBehaviour, Scenario
from harness.scenario.action_plan import Execute, Target, When, status
from harness.scenario.main_job import GOES_ON, STAYS_ACTIVE

SOURCE, DESTINATION = Target.SOURCE, Target.DESTINATION
REASON = "only supported during postcopy"
SLOW = EmulatedDevice(id="vfio0", size=MIB, save=SaveBehaviour(read_delay_s=0.3))


def pause(when: When, target: Target = SOURCE) -> Execute:
    return Execute(when=when, target=target, command="migrate-pause", refused_with=REASON)


def answered(position: int) -> When:
    return When(name="action_ended", kind="session", side="harness", args={"position": position})


@pytest.mark.requirement("LIF-15")
async def test_each_status_refuses_it_and_the_migration_completes(judged, kept) -> None:
    """In pre-copy, waiting for migrate-continue, and at the switchover."""
    device = status(SOURCE, "device")
    actions = (
        pause(status(SOURCE, "active")),
        Execute(
            when=answered(0),
            target=SOURCE,
            command="migrate-set-parameters",
            arguments=GOES_ON,
        ),
        pause(status(SOURCE, "pre-switchover")),
        pause(status(SOURCE, "pre-switchover"), DESTINATION),
        Execute(
            when=answered(3),
            target=SOURCE,
            command="migrate-continue",
            arguments={"state": "pre-switchover"},
        ),
        pause(device),
    )
    run = await judged(
        Scenario(
            name="pause",
            devices=(SLOW,),
            parameters=STAYS_ACTIVE,
            capabilities={"pause-before-switchover": True},
            actions=actions,
        )
    )
    kept(run, "RUN", "LIF-15", "ORD-1")
    assert run.verdict.finding("LIF-15").numbers["refused"] == 4
