"""A channel ends inside a packet."""

import pytest

from harness.proxy.events import Close, DeliverRaw
from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Select
from tests.unit.proxy.playbook import arrived, deliver, packet


@pytest.mark.parametrize("size", [0, 5, 276, 280, 293])
@pytest.mark.parametrize("is_abrupt", [True, False])
def test_channel_is_closed_after_so_many_bytes(play, size: int, is_abrupt: bool) -> None:
    book = play(plan.CutStream(select=Select(idx=(1,)), size=size, is_abrupt=is_abrupt))
    book >> arrived(0, 2) << deliver(0, 2) >> arrived(1, 2)
    book << DeliverRaw(2, packet(1).pack()[:size]) << Close(2, is_abrupt)
    book >> arrived(2, 1) << deliver(2, 1)
    assert book.handler.fired == 1


def test_it_happens_once(play) -> None:
    book = play(plan.CutStream(size=1))
    book >> arrived(0, 0) << DeliverRaw(0, b"\x11") << Close(0) >> arrived(1, 1) << deliver(1, 1)


def test_packet_that_is_no_longer_is_not_cut(play) -> None:
    book = play(plan.CutStream(size=294))
    book >> arrived(0) << deliver(0)
    assert book.handler.fired == 0
