"""LIF-3 and LIF-4 when a migration is over: a kill or a cancel then changes nothing more."""

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history import Side
from harness.history.by_type import ByType
from harness.history.device import Arc
from harness.scenario import MIB, EmulatedDevice, SaveBehaviour
from harness.scenario.action_plan import Execute, Target, status
from harness.scenario.main_job import STAYS_ACTIVE
from harness.session.session import Session
from harness.vm import migration

PLAIN = EmulatedDevice(id="vfio0", size=MIB)
FAILS = EmulatedDevice(id="vfio0", size=MIB, save=SaveBehaviour(error_at=0))
CANCEL = Execute(
    when=status(Target.SOURCE, "active"), target=Target.SOURCE, command="migrate_cancel"
)


def _last_arc(session: Session) -> str:
    """The state that the source's device was last asked for."""
    return ByType(session.records).of(Arc, Side.SOURCE)[-1].args.state


async def _state(session: Session, side: Side) -> str:
    monitor = getattr(session, side).vm.monitor
    return str((await monitor.execute("query-migrate"))["status"])


@pytest.mark.requirement("LIF-4")
@pytest.mark.scenario(devices=(PLAIN,))
async def test_cancel_of_a_completed_migration_changes_nothing(pair_migrated) -> None:
    await pair_migrated.source.vm.monitor.execute("migrate_cancel")
    assert await _state(pair_migrated, Side.SOURCE) == "completed"
    answer = await pair_migrated.destination.vm.monitor.execute("query-status")
    assert answer["running"]
    assert judge(await pair_migrated.stop()).overall is Outcome.VALID


@pytest.mark.requirement("LIF-3")
@pytest.mark.scenario(devices=(PLAIN,))
async def test_destination_runs_on_when_the_completed_source_dies(pair_migrated) -> None:
    pair_migrated.source.vm.kill()
    assert await pair_migrated.source.vm.process.wait(60)
    answer = await pair_migrated.destination.vm.monitor.execute("query-status")
    assert answer["running"]
    assert await _state(pair_migrated, Side.DESTINATION) == "completed"


@pytest.mark.requirement("LIF-3")
@pytest.mark.scenario(devices=(PLAIN,))
async def test_completed_source_can_run_on_when_the_destination_dies(pair_migrated) -> None:
    pair_migrated.destination.vm.kill()
    assert await pair_migrated.destination.vm.process.wait(60)
    assert await _state(pair_migrated, Side.SOURCE) == "completed"
    monitor = pair_migrated.source.vm.monitor
    await monitor.execute("cont")
    assert (await monitor.execute("query-status"))["running"]
    assert _last_arc(pair_migrated) == "RUNNING"


@pytest.mark.requirement("LIF-3", "LIF-4")
@pytest.mark.parametrize("what", ["cancel", "kill the destination"])
@pytest.mark.parametrize(
    "end",
    [
        pytest.param(
            "cancelled",
            marks=pytest.mark.scenario(
                devices=(PLAIN,), actions=(CANCEL,), parameters=STAYS_ACTIVE
            ),
        ),
        pytest.param("failed", marks=pytest.mark.scenario(devices=(FAILS,))),
    ],
)
async def test_source_runs_on_whatever_comes_then(pair_migrated, end, what) -> None:
    source = pair_migrated.source.vm.monitor
    if what == "cancel":
        await source.execute("migrate_cancel")
    else:
        pair_migrated.destination.vm.kill()
        assert await pair_migrated.destination.vm.process.wait(60)
    # A cancelled migration may be told as failed: known deviation of LIF-4.
    assert await _state(pair_migrated, Side.SOURCE) in {end, "failed"}
    assert (await source.execute("query-status"))["running"]
    assert _last_arc(pair_migrated) == "RUNNING"


@pytest.mark.requirement("LIF-3")
@pytest.mark.parametrize(
    "end",
    [
        pytest.param(
            "cancelled",
            marks=pytest.mark.scenario(
                devices=(PLAIN,), actions=(CANCEL,), parameters=STAYS_ACTIVE
            ),
        ),
        pytest.param("failed", marks=pytest.mark.scenario(devices=(FAILS,))),
    ],
)
async def test_failed_destination_answers_when_the_source_dies(pair_migrated, end) -> None:
    pair_migrated.source.vm.kill()
    assert await pair_migrated.source.vm.process.wait(60)
    # A source that hung in its cancel (known deviation of LIF-4) lets go only now.
    destination = pair_migrated.destination
    ended = lambda: migration.destination_end(destination.events)  # noqa: E731
    assert await destination.vm.activity.until(ended, 60) == "failed"
    assert await _state(pair_migrated, Side.DESTINATION) == "failed"
