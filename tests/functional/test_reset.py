"""ARC-4: a guest that is reset in each status of its migration."""

import pytest

from harness.history import Side
from harness.scenario import MIB, DataPath, EmulatedDevice, SaveBehaviour, Scenario
from harness.scenario.action_plan import Execute, Target, When, status

GO_ON = {"state": "pre-switchover"}
PRE_COPY = {"pre_copy": True, "precopy_initial_bytes": MIB, "precopy_dirty_bytes": MIB}


def slow(**fields) -> EmulatedDevice:
    """So that the reset comes while its state is read."""
    save = SaveBehaviour(read_delay_s=0.1, read_sizes=(MIB // 4,))
    return EmulatedDevice(id="vfio0", size=MIB, save=save, data_path=DataPath.SUPERVISED, **fields)


def reset(at: str, target: Target = Target.SOURCE, **fields) -> Scenario:
    """The guest of ``target`` is reset when the source's status is ``at``."""
    actions = [Execute(when=status(Target.SOURCE, at), target=target, command="system_reset")]
    capabilities = {}
    if at == "pre-switchover":
        capabilities = {"pause-before-switchover": True}
        actions.append(
            Execute(
                when=When(side=target.value, name="RESET"),
                target=Target.SOURCE,
                command="migrate-continue",
                arguments=GO_ON,
            )
        )
    return Scenario(
        name="reset",
        devices=(slow(**fields),),
        capabilities=capabilities,
        actions=tuple(actions),
    )


@pytest.mark.requirement("ARC-4")
@pytest.mark.parametrize("fields", [{}, PRE_COPY], ids=["plain", "pre-copy"])
@pytest.mark.parametrize("at", ["setup", "active", "pre-switchover", "device"])
async def test_guest_of_the_source_is_reset(judged, kept, at, fields) -> None:
    run = await judged(reset(at, **fields))
    kept(run, "ARC-4")
    assert run.verdict.finding("ARC-4").numbers["at"] == at
    resets = [r for r in run.history.records if r.name == "reset" and r.side is Side.SOURCE]
    assert resets, "the device was not reset: nothing was proved"


@pytest.mark.requirement("ARC-4")
@pytest.mark.parametrize("at", ["setup", "device"])
async def test_guest_of_the_destination_is_reset(judged, kept, at) -> None:
    run = await judged(reset(at, Target.DESTINATION))
    kept(run, "ARC-4", case="the source has sent everything" if at == "device" else "")
