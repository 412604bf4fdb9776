"""How long the other side gets to end."""

import pytest

from harness.scenario import MIB, DataPath, EmulatedDevice, LoadBehaviour, SaveBehaviour, Scenario
from harness.session.ending import settle_s
from harness.session.source import SETTLE_S


def waits(deadline_s: float, **fields) -> float:
    device = EmulatedDevice(id="vfio0", size=12 * MIB, data_path=DataPath.SUPERVISED, **fields)
    return settle_s(Scenario(name="slow", devices=(device,), deadline_s=deadline_s))


@pytest.mark.parametrize(
    ("fields", "deadline_s", "expected"),
    [
        ({}, 40, SETTLE_S),
        ({"load": LoadBehaviour(write_delay_s=0.5)}, 40, SETTLE_S + 6),
        ({"save": SaveBehaviour(read_delay_s=1)}, 40, SETTLE_S + 12),
        ({"load": LoadBehaviour(write_delay_s=600)}, 40, 40),
        ({"load": LoadBehaviour(write_delay_s=0.5)}, 1, SETTLE_S),
    ],
)
def test_slow_device_may_be_served_to_its_end_within_the_deadline(fields, deadline_s, expected):
    """Wrong the other way round: a QEMU that hangs is waited for longer than anybody needs."""
    assert waits(deadline_s, **fields) == expected
