"""Packets change channels."""

from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Select
from tests.unit.proxy.playbook import arrived, config, deliver


def test_all_on_one_channel(play) -> None:
    book = play(plan.MoveToChannel(channel=2))
    book >> arrived(0, 0) << deliver(0, 2) >> arrived(1, 2) << deliver(1, 2)
    assert book.notes == ["moved to channel 2"], "what is there already is not moved"


def test_each_channel_in_turn(play) -> None:
    book = play(plan.MoveToChannel(), channels=3)
    for idx, channel in enumerate((0, 1, 2, 0, 1)):
        book >> arrived(idx, 1) << deliver(idx, channel)
    assert book.handler.fired == 3


def test_only_what_is_selected(play) -> None:
    book = play(plan.MoveToChannel(channel=3, select=Select(config=True)))
    book >> arrived(0, 0) << deliver(0, 0) >> arrived(config(1), 0) << deliver(config(1), 3)
