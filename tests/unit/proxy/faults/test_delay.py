"""A long link: packets are on their way at once, and come in order."""

from harness.proxy.events import After, Due
from harness.proxy.faults.delay import FULL
from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Select
from tests.unit.proxy.playbook import arrived, deliver, packet


def test_each_packet_has_its_own_delay(play) -> None:
    book = play(plan.Delay(delay_s=0.2))
    book >> arrived(0) << After(0.2, 1) >> arrived(1, 3) << After(0.2, 2)
    book >> Due(1) << deliver(0) >> Due(2) << deliver(1, 3)
    assert book.handler.fired == 2
    assert not book.handler.is_holding


def test_what_is_not_selected_overtakes(play) -> None:
    book = play(plan.Delay(select=Select(idx=(0,)), delay_s=1))
    book >> arrived(0) << After(1, 1) >> arrived(1) << deliver(1) >> Due(1) << deliver(0)


def test_link_is_full_at_some_point(play) -> None:
    book = play(plan.Delay(delay_s=1))
    big = packet(0, bytes(FULL))
    book >> arrived(big) << After(1, 1)
    assert book.handler.is_full
    book >> Due(1) << deliver(big)
    assert not book.handler.is_full
