"""Header fields are set."""

from dataclasses import replace

from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Fields, Select
from tests.unit.proxy.playbook import arrived, deliver, packet


def test_fields_of_the_selected_packet(play) -> None:
    book = play(plan.Rewrite(select=Select(idx=(1,)), fields=Fields(state_version=7, idx=9)))
    (
        book
        >> arrived(0)
        << deliver(0)
        >> arrived(1)
        << deliver(replace(packet(1), idx=9, state_version=7))
    )
    assert book.notes == ["state_version = 7, idx = 9"]


def test_field_that_has_the_value_already_is_not_fired(play) -> None:
    book = play(plan.Rewrite(fields=Fields(idx=1)))
    book >> arrived(1) << deliver(1)
    assert book.handler.fired == 0
