"""Payloads are longer than they were."""

from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Select
from harness.wire.packets import DEVICE_STATE_HEAD_SIZE, stated_payload_size
from tests.unit.proxy.playbook import arrived, config, deliver, packet


def test_bytes_follow_the_data_and_the_length_follows_them(play) -> None:
    book = play(plan.Extend(size=3))
    book >> arrived(packet(3, b"0123456789"))
    book << deliver(packet(3, b"0123456789\xa5\xa5\xa5"))
    assert book.notes == ["3 bytes appended to 10"]
    head = packet(3, b"0123456789\xa5\xa5\xa5").pack()[:DEVICE_STATE_HEAD_SIZE]
    assert stated_payload_size(head) == 12 + 13


def test_others_stay_as_they_are(play) -> None:
    book = play(plan.Extend(size=3, select=Select(config=True)))
    book >> arrived(0) << deliver(0)
    assert book.handler.fired == 0
    book >> arrived(config(1))
    (command,) = book.taken()
    assert command.packet.data == b"config\xa5\xa5\xa5"
    assert command.packet.is_config
