"""A slow link: a packet at a time, each as long as its bytes take."""

from harness.proxy.events import After, Due
from harness.proxy.faults.pace import FULL
from harness.scenario import fault_plan as plan
from tests.unit.proxy.playbook import arrived, deliver, packet

HEAD = 276


def test_packets_queue_for_the_link(play) -> None:
    book = play(plan.Pace(bytes_per_s=1000))
    first, second = packet(0, bytes(724)), packet(1, bytes(1724))
    book >> arrived(first) << After(1.0, 0) >> arrived(second, 2)
    book >> Due(0) << After(2.0, 0) << deliver(first) >> Due(0) << deliver(second, 2)
    assert not book.handler.is_holding
    book >> arrived(first) << After(1.0, 0) >> Due(0) << deliver(first)


def test_queue_is_full_at_some_point(play) -> None:
    book = play(plan.Pace(bytes_per_s=FULL + HEAD))
    big = packet(0, bytes(FULL))
    book >> arrived(big) << After(1, 0)
    assert book.handler.is_full
    assert book.handler.is_holding
    book >> Due(0) << deliver(big)
    assert not book.handler.is_full
