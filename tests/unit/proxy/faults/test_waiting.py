"""What waits, waits; what is released, is released once, after what has released it."""

import pytest

from harness.proxy.events import After, Due, Notified
from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Select, Until
from tests.unit.proxy.playbook import arrived, deliver


def test_two_wait_each_for_its_own_moment(play) -> None:
    book = play(plan.Hold(select=Select(idx=(0, 1)), until=Until(packets=2)))
    book >> arrived(0) >> arrived(1) >> arrived(2) << deliver(2) << deliver(0)
    assert book.handler.is_holding
    book >> arrived(3) << deliver(3) << deliver(1)
    assert not book.handler.is_holding
    book >> arrived(4) << deliver(4)


def test_delays_are_distinguished(play) -> None:
    book = play(plan.Hold(until=Until(delay_s=1)))
    book >> arrived(0) << After(1, 1) >> arrived(1) << After(1, 2)
    book >> Due(2) << deliver(1) >> Due(1) << deliver(0)


def test_one_event_releases_all_that_waited_for_it(play) -> None:
    book = play(plan.Hold(until=Until(told="go")))
    book >> arrived(0) >> arrived(1) >> Notified("go") << deliver(0) << deliver(1)
    book >> arrived(2)  # what comes after it waits for the next


@pytest.mark.parametrize("fault", [plan.Hold, plan.Duplicate])
def test_a_phase_that_came_before_is_not_waited_for(play, fault: type) -> None:
    book = play(fault(until=Until(told="switchover")))
    book >> Notified("switchover", 700) >> arrived(0) << deliver(0)
    if fault is plan.Duplicate:
        book << deliver(0)
    assert not book.handler.is_holding
