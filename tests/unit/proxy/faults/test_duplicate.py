"""Packets are delivered again."""

import pytest

from harness.errors import UsageError
from harness.proxy.events import After, Due, Notified
from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Select, Until
from tests.unit.proxy.playbook import arrived, config, deliver

SECOND = Select(idx=(1,))


def test_right_behind(play) -> None:
    book = play(plan.Duplicate(select=SECOND))
    book >> arrived(0) << deliver(0) >> arrived(1, 2) << deliver(1, 2) << deliver(1, 2)
    assert book.notes == ["delivered again on channel 2"]


def test_several_times_on_another_channel(play) -> None:
    book = play(plan.Duplicate(select=SECOND, channel=3, copies=2))
    book >> arrived(1, 0) << deliver(1, 0) << deliver(1, 3) << deliver(1, 3)


def test_after_it_was_loaded(play) -> None:
    book = play(plan.Duplicate(select=SECOND, until=Until(loaded=True)))
    book >> arrived(1) << deliver(1) >> arrived(0) << deliver(0)
    assert book.handler.fired == 0
    book >> Notified("loaded", 11, "0000:00:02.0/vfio")
    assert book.handler.is_holding
    book >> Notified("loaded", 12, "0000:00:02.0/vfio") << deliver(1)
    assert not book.handler.is_holding
    assert book.handler.fired == 1


def test_configuration_among_those_that_wait_for_their_load_is_refused(play) -> None:
    book = play(plan.Duplicate(select=Select(idx=(0, 1)), until=Until(loaded=True)))
    book >> arrived(0) << deliver(0)
    with pytest.raises(UsageError, match="packet 1 is the configuration, and when that is loaded"):
        book >> arrived(config(1))
    book << deliver(config(1))


@pytest.mark.parametrize("is_last", [True, False])
def test_after_all_others(play, is_last: bool) -> None:
    book = play(plan.Duplicate(select=SECOND, until=Until(others=True)))
    book >> arrived(config(2)) << deliver(config(2))
    if is_last:
        book >> arrived(0) << deliver(0) >> arrived(1) << deliver(1) << deliver(1)
    else:
        book >> arrived(1) << deliver(1) >> arrived(0) << deliver(0) << deliver(1)


def test_after_a_time(play) -> None:
    book = play(plan.Duplicate(select=SECOND, until=Until(delay_s=2)))
    book >> arrived(1) << deliver(1) << After(2, 1) >> Due(1) << deliver(1)
