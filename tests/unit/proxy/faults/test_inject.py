"""Made-up packets."""

from dataclasses import replace

from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Fields, Select
from tests.unit.proxy.playbook import arrived, deliver, packet

AT = Select(idx=(1,))


def test_behind_with_the_packet_s_own_fields_but_for_those_given(play) -> None:
    book = play(plan.Inject(select=AT, fields=Fields(idx=100, instance_id=3)))
    made = replace(packet(1), idx=100, instance_id=3)
    book >> arrived(0) << deliver(0) >> arrived(1, 2) << deliver(1, 2) << deliver(made, 2)
    assert book.notes == ["injected packet 100"]


def test_several_before_on_another_channel_with_rising_idx(play) -> None:
    book = play(
        plan.Inject(
            select=AT, is_before=True, copies=3, idx_step=2, channel=0, data=b"!",
            fields=Fields(idx=0xFFFFFFFE),
        )
    )  # fmt: skip
    book >> arrived(1, 3)
    for idx in (0xFFFFFFFE, 0, 2):
        book << deliver(packet(idx, b"!"), 0)
    book << deliver(1, 3)
    assert book.handler.fired == 3


def test_data_of_a_size(play) -> None:
    book = play(plan.Inject(select=AT, size=5, fields=Fields(idx=2)))
    book >> arrived(1) << deliver(1) << deliver(packet(2, b"\xa5" * 5))


def test_any_payload(play) -> None:
    book = play(plan.Inject(select=AT, payload=b"xyz", copies=2, idx_step=1))
    short = replace(packet(1), idx=None, data=b"xyz")
    book >> arrived(1) << deliver(1) << deliver(short) << deliver(short)
