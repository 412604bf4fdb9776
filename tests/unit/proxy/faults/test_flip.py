"""Bits of the data are inverted."""

import pytest

from harness.scenario import fault_plan as plan
from tests.unit.proxy.playbook import arrived, deliver, packet


@pytest.mark.parametrize(
    ("spec", "data"),
    [
        (plan.Flip(), b"\xff\x00\x00"),
        (plan.Flip(offset=1, mask=0x80), b"\x00\x80\x00"),
        (plan.Flip(offset=-1, mask=1), b"\x00\x00\x01"),
        (plan.Flip(offset=1, length=9), b"\x00\xff\xff"),
        (plan.Flip(offset=-5, length=3), b"\xff\x00\x00"),
    ],
)
def test_bytes_at_the_offset(play, spec: plan.Flip, data: bytes) -> None:
    book = play(spec)
    book >> arrived(packet(0, bytes(3))) << deliver(packet(0, data))
    assert book.handler.fired == 1


@pytest.mark.parametrize("spec", [plan.Flip(offset=3), plan.Flip(offset=-4)])
def test_offset_outside_the_data_is_not_fired(play, spec: plan.Flip) -> None:
    book = play(spec)
    book >> arrived(packet(0, bytes(3))) << deliver(packet(0, bytes(3)))
    assert book.handler.fired == 0
