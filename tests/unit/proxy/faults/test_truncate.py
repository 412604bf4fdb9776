"""Payloads are cut."""

import pytest

from harness.scenario import fault_plan as plan
from tests.unit.proxy.playbook import Playbook, arrived, deliver, packet

HEAD = 276


def _cut(book: Playbook) -> bytes:
    book >> arrived(packet(3, b"0123456789"))
    (command,) = book.taken()
    return command.packet.pack()


@pytest.mark.parametrize("size", [0, 5, 11, 12, 13, 21])
def test_first_bytes_stay_and_the_length_follows(play, size: int) -> None:
    whole = packet(3, b"0123456789").pack()
    cut = _cut(play(plan.Truncate(size=size)))
    assert cut == whole[: HEAD - 4] + size.to_bytes(4, "big") + whole[HEAD : HEAD + size]


@pytest.mark.parametrize("size", [0, 5, 12, 21])
def test_stale_length_stays(play, size: int) -> None:
    whole = packet(3, b"0123456789").pack()
    assert _cut(play(plan.Truncate(size=size, is_stale=True))) == whole[: HEAD + size]


def test_packet_that_is_no_longer_is_not_fired(play) -> None:
    book = play(plan.Truncate(size=22))
    book >> arrived(packet(3, b"0123456789")) << deliver(packet(3, b"0123456789"))
    assert book.handler.fired == 0
