"""LIF-11: a QEMU ends with status 0 after quit."""

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.process import Hung
from harness.history.session import ActionEnded, Deadline, Faults
from harness.scenario.fault_plan import Hold, Until
from tests.unit.check.histories import completed, find, good
from tests.unit.check.lives import (
    KILL_DESTINATION,
    QUIT_DESTINATION,
    Life,
    quit_as_planned,
)
from tests.unit.check.story import DST, SRC, US, scenario


def verdict(life: Life):
    return find(life.history(), "LIF-11")


def hangs(after_us: int, **fields) -> Life:
    """The destination was sent quit, and was there ``after_us`` later."""
    life = Life(scenario(actions=(QUIT_DESTINATION,), **fields))
    life.act()
    life.put("harness", ActionEnded(position=0, how="done"))
    life.at += after_us * US
    life.put("harness", Deadline(waiting_for="the end of destination", deadline_s=15.0))
    hung = {"main_loop_alive": False, "monitor_alive": True}
    life.put(DST, Hung(waiting_for="the end of destination", backtrace="", **hung))
    life.killed(DST)
    return life


def test_quit_with_status_0():
    finding = find(good("quit as planned"), "LIF-11")
    assert finding.outcome is Outcome.VALID
    assert finding.sentence == "destination quit with status 0 as planned"


def test_quit_of_the_harness_is_none_of_the_scenario():
    assert judge(completed(scenario())).not_applicable["LIF-11"] == (
        "the scenario sends quit to no QEMU"
    )


def test_quit_that_was_refused_is_none():
    life = Life(scenario(actions=(QUIT_DESTINATION,)))
    life.act()
    life.put("harness", ActionEnded(position=0, how="refused", error_class="X", desc="busy"))
    assert "LIF-11" in judge(life.history()).not_applicable


@pytest.mark.parametrize(("status", "signal"), [(1, 0), (-1, 6), (-1, 11)])
def test_qemu_that_dies_instead(status, signal):
    life = quit_as_planned(status, signal)
    finding = verdict(life)
    assert finding.outcome is Outcome.VIOLATED
    assert finding.shape == "destination-died-quitting"
    assert finding.evidence[-1].name == "exited"


def test_qemu_that_does_not_quit():
    finding = verdict(hangs(2_000_000))
    assert finding.outcome is Outcome.VIOLATED
    assert finding.shape == "did-not-quit"


def test_qemu_that_had_no_time_to_quit_is_unknown():
    assert verdict(hangs(900_000)).sentence == "the destination was given no time to quit"


def test_qemu_that_the_relay_holds_up_is_unknown():
    life = hangs(2_000_000, faults=(Hold(until=Until(delay_s=60)),))
    life.put("harness", Faults(fired=[1], holding=[True]))
    assert "hold every packet for 60 s" in verdict(life).sentence


def test_qemu_that_was_killed_too_is_unknown():
    planned = scenario(actions=(QUIT_DESTINATION, KILL_DESTINATION))
    life = Life(planned)
    for position in range(2):
        life.act(position)
        life.put("harness", ActionEnded(position=position, how="done"))
    life.killed(DST)
    life.status(SRC, "failed")
    assert verdict(life).outcome is Outcome.UNKNOWN


def test_qemu_that_the_harness_has_ended_is_unknown():
    life = Life(scenario(actions=(QUIT_DESTINATION,)))
    life.act()
    life.put("harness", ActionEnded(position=0, how="done"))
    life.killed(DST)
    assert verdict(life).sentence == "the harness has ended the destination"
