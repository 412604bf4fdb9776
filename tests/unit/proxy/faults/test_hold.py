"""Packets are delivered later, or never."""

from harness.proxy.events import After, Due, Ended, Notified
from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Select, Until
from tests.unit.proxy.playbook import arrived, config, deliver, packet

FIRST = Select(idx=(0,))


def test_until_an_outside_event(play) -> None:
    book = play(plan.Hold(select=FIRST, until=Until(told="paused")))
    book >> arrived(0, 1) >> arrived(1) << deliver(1) >> Notified("paused") << deliver(0, 1)
    assert book.notes == ["held until paused"]


def test_until_packets(play) -> None:
    book = play(plan.Hold(select=FIRST, until=Until(packets=1)))
    book >> arrived(0) >> arrived(1) << deliver(1) << deliver(0)


def test_until_all_others_went(play) -> None:
    book = play(plan.Hold(select=FIRST, until=Until(others=True)))
    book >> arrived(0) >> arrived(1) << deliver(1) >> arrived(packet(1, slot=3))
    book << deliver(packet(1, slot=3)) >> arrived(config(2)) << deliver(config(2)) << deliver(0)


def test_last_packet_that_waits_for_all_others_is_not_held(play) -> None:
    book = play(plan.Hold(select=FIRST, until=Until(others=True)))
    book >> arrived(config(1)) << deliver(config(1)) >> arrived(0) << deliver(0)
    assert book.handler.fired == 0


def test_for_a_time(play) -> None:
    book = play(plan.Hold(select=FIRST, until=Until(delay_s=0.5)))
    book >> arrived(0) << After(0.5, 1) >> Due(1) << deliver(0)


def test_moment_that_never_comes_keeps_it_for_good(play) -> None:
    book = play(plan.Hold(select=FIRST, until=Until(told="never")), channels=1)
    book >> arrived(0) >> Ended(0) >> Notified("other")
    assert book.handler.is_holding
    assert book.handler.fired == 1
