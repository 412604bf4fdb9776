"""LIF-11: either QEMU is sent quit, at every status of the source."""

import msgspec
import pytest

from harness.history import Side
from harness.history.process import Exited
from harness.scenario import Scenario
from harness.scenario.action_plan import Action, Execute, Target, When, status
from tests.functional.test_life_statuses import HELD
from tests.records import held

SOURCE = Target.SOURCE
GONE = When(kind="process", name="exited", side="destination")
CANCEL = Execute(when=GONE, target=SOURCE, command="migrate_cancel")


@pytest.mark.requirement("LIF-11")
@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize("name", HELD)
async def test_quit_at_each_status(judged, kept, qemu_facts, name: str, target: Target) -> None:
    if name == "failing" and qemu_facts[0].facts.version < (11, 0):
        name = "failed"  # this build says so at once
    action = Execute(when=status(SOURCE, name), target=target, command="quit")
    # A source that is paused notices its destination's end when it goes on, or is cancelled.
    is_unaware = name == "pre-switchover" and target is Target.DESTINATION
    more: tuple[Action, ...] = (CANCEL,) if is_unaware else ()
    how = HELD["failing" if name == "failed" else name]
    run = await judged(
        Scenario(
            name=f"{name}-quit-{target}",
            devices=(msgspec.structs.replace(how.device, size=1 << 20),),
            actions=(*how.before, action, *more),
            **how.fields,
        )
    )
    kept(run, "LIF-11")
    (end,) = held(run, Exited, Side(target))
    assert (end.status, end.signal) == (0, 0)
