"""LIF-10: a paused guest arrives paused, and stays paused if the migration ends otherwise."""

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history import Kind, Side
from harness.history.session import ActionEnded, Continued
from harness.scenario.action_plan import Execute, Suspend, Target, status
from tests.unit.check.histories import completed, find, without
from tests.unit.check.lives import (
    CANCEL,
    CONT,
    KILL_SOURCE,
    PAUSED,
    RUNNING,
    STOP,
    STOPPED,
    Life,
    paused,
    paused_and_cancelled,
)
from tests.unit.check.story import DST, SRC, scenario

STOP_DESTINATION = Execute(
    when=status(Target.SOURCE, "active"), target=Target.DESTINATION, command="stop"
)


def done(life: Life, position: int = 0) -> None:
    life.act(position)
    life.put("harness", ActionEnded(position=position, how="done"))


def arrives(life: Life, state: dict[str, object]):
    """Both sides complete, and the destination says that its guest is in ``state``."""
    life.status(SRC, "completed")
    life.status(DST, "active", "completed")
    life.asked(SRC, {"status": "postmigrate", "running": False})
    life.asked(DST, state)
    life.quit(SRC)
    life.quit(DST)
    return life.history()


# -- a right QEMU ---------------------------------------------------------------------------


def test_guest_that_stays_paused():
    finding = find(paused_and_cancelled(), "LIF-10")
    assert finding.outcome is Outcome.VALID
    assert finding.sentence == "the source cancelled the migration, and its guest is paused"


@pytest.mark.parametrize("at", ["active", "pre-switchover"])
def test_guest_that_arrives_paused(at):
    finding = find(arrives(paused(at=at), PAUSED), "LIF-10")
    assert finding.outcome is Outcome.VALID
    assert finding.sentence == "the guest arrived paused"


def test_guest_that_was_on_its_way_may_run():
    run = arrives(paused(at="device", has_effect=False), RUNNING)
    assert "on its way" in judge(run).not_applicable["LIF-10"]


def test_guest_that_was_not_paused_or_was_resumed_may_run():
    life = Life(scenario(actions=(CANCEL,)))
    done(life)
    assert judge(arrives(life, RUNNING)).not_applicable["LIF-10"] == (
        "the scenario has not paused the guest"
    )
    life = Life(scenario(actions=(STOP, CONT)))
    done(life)
    done(life, 1)
    assert judge(arrives(life, RUNNING)).not_applicable["LIF-10"] == (
        "the scenario has resumed the guest"
    )


def test_stop_that_was_refused_pauses_nothing():
    life = Life(scenario(actions=(STOP,)))
    life.act()
    life.put("harness", ActionEnded(position=0, how="refused", error_class="X", desc="busy"))
    assert "LIF-10" in judge(arrives(life, RUNNING)).not_applicable


def test_guest_that_ended_with_its_qemu_is_not_asked_for():
    life = Life(scenario(actions=(STOP, KILL_SOURCE)))
    done(life)
    done(life, 1)
    life.killed(SRC)
    life.status(DST, "active", "failed")
    assert "the scenario has ended the source" in judge(life.history()).not_applicable["LIF-10"]


# -- a wrong one ----------------------------------------------------------------------------


def violated(run, shape: str) -> str:
    finding = find(run, "LIF-10")
    assert finding.outcome is Outcome.VIOLATED, finding.sentence
    assert finding.shape == shape
    assert finding.evidence[-1].name == "return"
    return str(finding.sentence)


def test_paused_guest_that_runs():
    assert "stayed, and runs" in violated(paused_and_cancelled(RUNNING), "paused-guest-runs")
    assert "arrived, and runs" in violated(arrives(paused(), RUNNING), "paused-guest-runs")


@pytest.mark.parametrize("at", ["pre-switchover", "device"])
def test_stop_that_the_source_forgets(at):
    run = paused_and_cancelled(RUNNING, at=at, has_effect=False)
    assert f"in the status {at}" in violated(run, "stop-had-no-effect")


def test_guest_stopped_in_pre_switchover_that_arrives_running():
    run = arrives(paused(at="pre-switchover", has_effect=False), RUNNING)
    violated(run, "stop-had-no-effect")


def test_destination_that_runs_what_it_was_to_stop():
    life = Life(scenario(actions=(STOP_DESTINATION,)))
    done(life)
    violated(arrives(life, RUNNING), "destination-ran-what-it-stopped")


def test_guest_that_came_paused_and_runs():
    life = Life(scenario())
    life.put(Side.HARNESS, Continued(after="completed", is_paused=True))
    violated(arrives(life, RUNNING), "paused-guest-runs")


# -- what cannot be judged --------------------------------------------------------------------


def test_source_that_has_just_failed_is_not_asked_again():
    assert find(paused_and_cancelled(STOPPED), "LIF-10").outcome is Outcome.UNKNOWN


def test_guest_that_may_have_been_stopped_by_the_migration():
    run = paused_and_cancelled(RUNNING, has_effect=False)
    assert find(run, "LIF-10").outcome is Outcome.UNKNOWN
    run = without(paused_and_cancelled(RUNNING), "vfio_vmstate_change")
    assert "not traced" in find(run, "LIF-10").sentence


def test_side_that_was_not_asked_or_has_no_end_is_unknown():
    life = paused()
    life.act(1)
    life.cancelled()
    assert "was not asked" in find(life.history(), "LIF-10").sentence
    assert "which side has the guest" in find(paused().history(), "LIF-10").sentence
    assert "LIF-10" in judge(completed(scenario())).not_applicable


# -- a guest that is suspended ----------------------------------------------------------------

SUSPEND = Suspend(when=status(Target.SOURCE, "active"))
ASLEEP = {"status": "suspended", "running": False}


def suspended(*more, event: bool = True) -> Life:
    """The source's guest is suspended while it is active, and then stopped."""
    life = Life(scenario(actions=(SUSPEND, *more)), ("setup", "active"))
    done(life)
    if event:
        life.add(SRC, Kind.QMP, "SUSPEND")
    return life


def test_guest_that_arrives_suspended():
    finding = find(arrives(suspended(), ASLEEP), "LIF-10")
    assert finding.outcome is Outcome.VALID
    assert finding.sentence == "the guest was suspended, and arrived so"


def test_guest_that_was_suspended_and_runs():
    finding = find(arrives(suspended(), RUNNING), "LIF-10")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.shape == "suspended-guest-runs"


def test_guest_that_was_suspended_and_is_paused_is_unknown():
    assert find(arrives(suspended(), PAUSED), "LIF-10").outcome is Outcome.UNKNOWN


def test_guest_that_was_suspended_too_late_or_not_at_all_is_unknown():
    assert find(arrives(suspended(event=False), RUNNING), "LIF-10").outcome is Outcome.UNKNOWN
    life = suspended(event=False)
    life.add(SRC, Kind.QMP, "STOP")
    life.add(SRC, Kind.QMP, "SUSPEND")
    assert find(arrives(life, RUNNING), "LIF-10").outcome is Outcome.UNKNOWN
    woken = suspended()
    woken.add(SRC, Kind.QMP, "WAKEUP")
    assert find(arrives(woken, RUNNING), "LIF-10").outcome is Outcome.UNKNOWN


def test_guest_that_was_suspended_and_paused_is_not_judged():
    life = suspended(STOP)
    done(life, 1)
    assert "also paused" in judge(arrives(life, PAUSED)).not_applicable["LIF-10"]
