"""Connections wait to be let in."""

from harness.proxy.events import After, Due, Notified, Waiting
from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Until


def test_held_until_an_outside_event(play) -> None:
    book = play(plan.HoldConnections(accepted=1, until=Until(told="go")))
    assert book.handler.lets_in == 1
    book >> Waiting(1) >> Notified("something else")
    assert book.handler.lets_in == 1
    book >> Notified("go")
    assert book.handler.lets_in is None
    assert book.handler.fired == 1
    assert book.notes == ["connections held until go"]


def test_held_for_a_time_from_the_first_that_waits_on(play) -> None:
    book = play(plan.HoldConnections(until=Until(delay_s=2)))
    book >> Waiting(0) << After(2, 0)
    assert book.handler.lets_in == 0
    book >> Due(0)
    assert book.handler.lets_in is None


def test_nothing_that_another_fault_holds_is_counted(play) -> None:
    book = play(plan.HoldConnections(accepted=3, until=Until(delay_s=2)))
    book >> Waiting(1)
    assert book.handler.fired == 0


def test_what_waits_again_is_counted_once(play) -> None:
    book = play(plan.HoldConnections(until=Until(told="go")))
    book >> Waiting(0) >> Waiting(0)
    assert book.handler.fired == 1


def test_event_before_any_waits_it_never_holds(play) -> None:
    book = play(plan.HoldConnections(until=Until(told="go")))
    book >> Notified("go") >> Waiting(0)
    assert book.handler.lets_in is None
    assert book.handler.fired == 0


def test_keeps_back_what_it_has_held_until_it_lets_in(play) -> None:
    book = play(plan.HoldConnections(until=Until(told="go")))
    assert not book.handler.keeps_back
    book >> Waiting(0)
    assert book.handler.keeps_back
    book >> Notified("go")
    assert not book.handler.keeps_back
