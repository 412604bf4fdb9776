"""The main channel is stalled, and goes on."""

import pytest

from harness.proxy.events import MAIN, After, Due, Ended, Notified, Opened, ResumeMain, StallMain
from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Select, Until
from tests.unit.proxy.playbook import arrived, config, deliver, packet


def test_from_the_first_selected_packet_until_the_state_is_complete(play) -> None:
    book = play(plan.StallMain(select=Select(idx=(1,)), until=Until(others=True)))
    book >> arrived(0) << deliver(0) >> arrived(1) << StallMain() << deliver(1)
    book >> arrived(config(2)) << ResumeMain() << deliver(config(2)) >> arrived(1) << deliver(1)
    assert book.handler.fired == 1


def test_until_the_states_of_all_devices_are_complete(play) -> None:
    book = play(plan.StallMain(until=Until(others=True), devices=2))
    other = config(0, slot=3)
    book >> arrived(config(0)) << StallMain() << deliver(config(0))
    book >> arrived(other) << ResumeMain() << deliver(other)


def test_state_that_is_complete_at_once(play) -> None:
    book = play(plan.StallMain(until=Until(others=True)))
    book >> arrived(config(0)) << StallMain() << ResumeMain() << deliver(config(0))


def test_from_its_start_for_a_time(play) -> None:
    book = play(plan.StallMain(since="opened", until=Until(delay_s=3)))
    book >> Opened(MAIN) << StallMain() << After(3, 0) >> arrived(0) << deliver(0)
    book >> Due(0) << ResumeMain()


def test_from_one_outside_event_to_another(play) -> None:
    book = play(plan.StallMain(since="stopped", until=Until(told="go")))
    book >> arrived(0) << deliver(0) >> Notified("go") >> Notified("stopped") << StallMain()
    book >> Notified("go") << ResumeMain() >> Notified("stopped") >> Notified("go")


REFUSED = Until(told="channel_ended", delay_s=3)


def test_until_the_destination_refuses_or_for_a_time(play) -> None:
    book = play(plan.StallMain(since="ram_passed", until=REFUSED))
    book >> arrived(0) << deliver(0) >> Notified("ram_passed") << StallMain() << After(3, 0)
    book >> Notified("channel_ended") << ResumeMain() >> Due(0) >> Notified("channel_ended")
    book = play(plan.StallMain(since="ram_passed", until=REFUSED))
    book >> Notified("ram_passed") << StallMain() << After(3, 0) >> Due(0) << ResumeMain()
    book >> Notified("channel_ended")


def test_destination_that_has_refused_before_is_not_waited_for(play) -> None:
    book = play(plan.StallMain(since="ram_passed", until=REFUSED))
    book >> Notified("channel_ended") >> Notified("ram_passed")
    assert book.handler.fired == 1, "it has come to what it is for"
    assert not book.handler.keeps_back


@pytest.mark.parametrize(
    ("until", "goes_on"),
    [
        (Until(others=True), True),
        (Until(packets=3), True),
        (Until(told="go"), False),
        (Until(delay_s=1), False),
    ],
)
def test_source_that_ends_is_not_waited_for(play, until: Until, goes_on: bool) -> None:
    book = play(plan.StallMain(until=until), channels=1)
    book >> arrived(packet(0)) << StallMain()
    if until.delay_s:
        book << After(1, 0)
    book << deliver(0) >> Ended(0)
    if goes_on:
        book << ResumeMain()


def test_keeps_back_the_stream_while_it_is_stalled(play) -> None:
    book = play(plan.StallMain(until=Until(told="go")))
    assert not book.handler.keeps_back
    book >> arrived(0) << StallMain() << deliver(0)
    assert book.handler.keeps_back
    book >> Notified("go") << ResumeMain()
    assert not book.handler.keeps_back
