"""Channels end between packets."""

import pytest

from harness.proxy.events import MAIN, Close
from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Select, Which
from tests.unit.proxy.playbook import arrived, deliver

SECOND = Select(idx=(1,))


def test_own_channel_behind_the_packet(play) -> None:
    book = play(plan.CloseChannel(select=SECOND))
    book >> arrived(0, 2) << deliver(0, 2) >> arrived(1, 2) << deliver(1, 2) << Close(2)
    assert book.handler.fired == 1


def test_before_the_packet_which_the_relay_loses_then(play) -> None:
    book = play(plan.CloseChannel(select=SECOND, is_before=True, is_abrupt=True))
    book >> arrived(1, 2) << Close(2, True) << deliver(1, 2)


@pytest.mark.parametrize(
    ("which", "channels"),
    [
        (Which.MULTIFD, [0, 1, 2, 3]),
        (Which.MAIN, [MAIN]),
        (Which.ALL, [0, 1, 2, 3, MAIN]),
    ],
)
def test_other_channels(play, which: Which, channels: list[int]) -> None:
    book = play(plan.CloseChannel(select=SECOND, which=which))
    book >> arrived(1, 2) << deliver(1, 2)
    for channel in channels:
        book << Close(channel)


def test_nth_of_the_selected_packets_and_once(play) -> None:
    book = play(plan.CloseChannel(nth=3))
    for idx in range(2):
        book >> arrived(idx) << deliver(idx)
    book >> arrived(2) << deliver(2) << Close(0) >> arrived(3, 1) << deliver(3, 1)
