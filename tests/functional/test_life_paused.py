"""LIF-10: a paused guest arrives paused; it stays paused if the migration is cancelled or fails."""

from typing import Any

import pytest

from harness.scenario import MIB, EmulatedDevice, SaveBehaviour, Scenario
from harness.scenario.action_plan import Execute, Kill, Suspend, Target, When, status
from harness.scenario.main_job import GOES_ON, STAYS_ACTIVE

SOURCE, DESTINATION = Target.SOURCE, Target.DESTINATION
PLAIN = EmulatedDevice(id="vfio0", size=MIB)
SLOW = EmulatedDevice(id="vfio0", size=MIB, save=SaveBehaviour(read_delay_s=0.3))
ACTIVE, DEVICE = status(SOURCE, "active"), status(SOURCE, "device")
WAITS = status(SOURCE, "pre-switchover")
STOPPED = When(name="STOP", side="source")
PAUSES = {"pause-before-switchover": True}
NO_EFFECT = "stop after the migration has stopped the guest"
ANSWERED = When(name="action_ended", kind="session", side="harness", args={"position": 0})
"""The first action was answered."""


def on_source(command: str, when: When, **arguments: Any) -> Execute:
    return Execute(when=when, target=SOURCE, command=command, arguments=arguments)


STOP = on_source("stop", ACTIVE)
CONTINUE = on_source("migrate-continue", ANSWERED, state="pre-switchover")


def scenario(*actions: Any, **fields: Any) -> Scenario:
    return Scenario(**{"name": "paused", "devices": (PLAIN,), "actions": actions, **fields})


ENDS = {
    "arrives": (
        on_source("migrate-set-parameters", STOPPED, **GOES_ON),
        "the guest arrived paused",
    ),
    "cancelled": (on_source("migrate_cancel", STOPPED), "cancelled the migration"),
    "failed": (Kill(when=STOPPED, target=DESTINATION), "failed the migration"),
}


@pytest.mark.requirement("LIF-10")
@pytest.mark.parametrize("end", ENDS)
async def test_guest_that_is_paused_in_pre_copy_stays_paused(judged, kept, end) -> None:
    action, words = ENDS[end]
    run = await judged(scenario(STOP, action, parameters=STAYS_ACTIVE))
    kept(run, "LIF-10")
    assert words in run.verdict.finding("LIF-10").sentence


@pytest.mark.requirement("LIF-10")
async def test_guest_stays_paused_over_two_migrations(judged_in_turn, kept) -> None:
    then = Scenario(name="on", devices=(PLAIN,), parameters=GOES_ON)
    planned = scenario(STOP, ENDS["arrives"][0], parameters=STAYS_ACTIVE, then=(then,))
    for run in await judged_in_turn(planned):
        kept(run, "LIF-10")


@pytest.mark.requirement("LIF-10")
async def test_destination_that_is_stopped_while_it_waits_has_the_guest_paused(
    judged, kept
) -> None:
    stop = Execute(when=ACTIVE, target=DESTINATION, command="stop")
    kept(await judged(scenario(stop, devices=(SLOW,))), "LIF-10")


@pytest.mark.requirement("LIF-10")
@pytest.mark.parametrize("end", ["arrives", "cancelled"])
async def test_guest_that_is_paused_in_pre_switchover_stays_paused(judged, kept, end) -> None:
    ends = CONTINUE if end == "arrives" else on_source("migrate_cancel", ANSWERED)
    run = await judged(scenario(on_source("stop", WAITS), ends, capabilities=PAUSES))
    kept(run, "LIF-10", case=NO_EFFECT)


@pytest.mark.requirement("LIF-10")
async def test_guest_on_its_way_is_not_the_source_s_to_pause(judged) -> None:
    run = await judged(scenario(on_source("stop", DEVICE), devices=(SLOW,)))
    assert "on its way" in run.verdict.not_applicable["LIF-10"]


SUSPENDED = When(name="SUSPEND", side="source")
SUSPENDS = {
    "arrives": (on_source("migrate-set-parameters", SUSPENDED, **GOES_ON), "arrived so"),
    "cancelled": (on_source("migrate_cancel", SUSPENDED), "stayed so"),
    "failed": (Kill(when=SUSPENDED, target=DESTINATION), "stayed so"),
}


@pytest.mark.requirement("LIF-10")
@pytest.mark.parametrize("machine", ["q35", "pc"])
@pytest.mark.parametrize("end", SUSPENDS)
async def test_guest_that_is_suspended_in_pre_copy_stays_so(judged, kept, end, machine) -> None:
    action, words = SUSPENDS[end]
    suspend = Suspend(when=ACTIVE)
    run = await judged(scenario(suspend, action, parameters=STAYS_ACTIVE, machine=machine))
    kept(run, "RUN", "LIF-10", *(["ORD-1", "ORD-4"] if end == "arrives" else []))
    assert words in run.verdict.finding("LIF-10").sentence


async def test_guest_that_runs_is_not_woken(judged, kept) -> None:
    wake = Execute(
        when=ACTIVE, target=SOURCE, command="system_wakeup", refused_with="not in suspended state"
    )
    goes_on = on_source("migrate-set-parameters", ANSWERED, **GOES_ON)
    kept(await judged(scenario(wake, goes_on, parameters=STAYS_ACTIVE)), "RUN", "ORD-1")


async def test_guest_that_asks_to_be_suspended_as_it_is_stopped(judged, kept) -> None:
    goes_on = on_source("migrate-continue", SUSPENDED, state="pre-switchover")
    run = await judged(scenario(Suspend(when=WAITS), goes_on, capabilities=PAUSES))
    kept(run, "RUN", case="guest asks to be suspended as the migration stops it")
