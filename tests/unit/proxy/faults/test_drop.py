"""Packets are not delivered."""

from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Select
from tests.unit.proxy.playbook import arrived, config, deliver


def test_what_is_selected_is_gone(play) -> None:
    book = play(plan.Drop(select=Select(idx=(1,))))
    book >> arrived(0) << deliver(0) >> arrived(1) >> arrived(config(2)) << deliver(config(2))
    assert book.notes == ["dropped"]
    assert not book.handler.is_holding
