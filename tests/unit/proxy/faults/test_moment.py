"""Each kind of moment: not before, and then for good."""

import pytest

from harness.proxy.events import After, Due, Event, Notified
from harness.proxy.faults.moment import Moment
from harness.proxy.faults.tally import Tallies
from harness.scenario.fault_plan import Until
from tests.unit.proxy.playbook import arrived, config, packet

DEVICE, OTHER = "0000:00:02.0/vfio", "0000:00:03.0/vfio"


@pytest.mark.parametrize(
    ("until", "early", "reached"),
    [
        (Until(told="go"), [Notified("stop"), arrived(2), Due(7)], Notified("go")),
        (Until(told="queued", value=3), [Notified("queued", 2), Notified("queued", 4, OTHER)],
         Notified("queued", 3, DEVICE)),
        (Until(packets=2), [Notified("go"), arrived(packet(5, slot=3))], arrived(2)),
        (Until(told="go", delay_s=1.5), [Notified("stop"), Due(6)], Due(7)),
        (Until(told="go", delay_s=1.5), [Notified("stop"), Due(6)], Notified("go")),
        (Until(delay_s=1.5), [Due(6), arrived(2), Notified("go")], Due(7)),
        (Until(others=True), [arrived(0), arrived(packet(0, slot=3))], arrived(config(2))),
        (Until(loaded=True), [arrived(0), Notified("loaded", 7), Notified("loaded", 99, OTHER)],
         Notified("loaded", 12, DEVICE)),
    ],
    ids=lambda value: value.describe() if isinstance(value, Until) else "",
)  # fmt: skip
def test_moment_is_reached_by_its_event_alone(
    until: Until, early: list[Event], reached: Event
) -> None:
    tallies = Tallies()
    tallies.see(packet(1))
    moment = Moment(until, packet(1), tallies, token=7)

    def see(event: Event) -> bool:
        if hasattr(event, "packet"):
            tallies.see(event.packet)
        elif isinstance(event, Notified):
            tallies.hear(event)
        return moment.see(event)

    assert not moment.is_reached
    for event in early:
        assert not see(event), event
    assert see(reached)
    assert moment.see(Due(99)), "it stays reached"


def test_delay_is_asked_for_and_nothing_else_is() -> None:
    tallies = Tallies()
    assert list(Moment(Until(delay_s=2), packet(0), tallies, 5).start()) == [After(2, 5)]
    assert not list(Moment(Until(told="x"), packet(0), tallies, 5).start())


def test_moment_of_no_packet_is_that_of_all_devices() -> None:
    tallies = Tallies()
    moment = Moment(Until(others=True), None, tallies, 0, devices=2)
    for event in (arrived(config(0)), arrived(packet(0, slot=3))):
        tallies.see(event.packet)
        assert not moment.see(event)
    tallies.see(config(1, slot=3))
    assert moment.see(arrived(config(1, slot=3)))


def test_last_packet_waits_for_no_others() -> None:
    tallies = Tallies()
    tallies.see(config(0))
    assert Moment(Until(others=True), config(0), tallies, 0).is_reached


def test_packet_without_idx_is_never_loaded() -> None:
    tallies = Tallies()
    moment = Moment(Until(loaded=True), None, tallies, 0)
    assert not moment.see(Notified("loaded", 10**9))
