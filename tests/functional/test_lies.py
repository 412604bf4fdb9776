"""A device that lies stands in for a QEMU that reassembles wrongly: it must be caught."""

import pytest

from harness.check.verdict import Outcome
from harness.history.device import Received
from harness.scenario import MIB, EmulatedDevice, Lie, LoadBehaviour, Scenario


@pytest.mark.requirement("ORD-1")
@pytest.mark.parametrize("lie", list(Lie))
@pytest.mark.parametrize("index", [0, 7, 15])
async def test_lie_is_a_violation_of_ord_1(judged, lie, index) -> None:
    if lie is Lie.SWAPPED_BUFFERS and index == 15:
        index = 14  # the last buffer has no later one to be swapped with
    device = EmulatedDevice(id="vfio0", load=LoadBehaviour(lie=lie, lie_at=index))
    run = await judged(Scenario(name="lie", devices=(device,)))

    assert run.verdict.overall is Outcome.VIOLATED
    assert run.verdict.exit_status == 1
    finding = run.verdict.finding("ORD-1")
    assert finding.outcome is Outcome.VIOLATED
    (received,) = [r.args for r in finding.evidence if isinstance(r.args, Received)]
    expected = index * MIB + (MIB // 2 if lie is Lie.WRONG_BYTE else 0)
    assert received.first_difference == expected
    assert run.verdict.finding("STA-3").outcome is Outcome.VALID, "the trace did not lie"


@pytest.mark.requirement("ORD-1", "ORD-6")
async def test_only_the_lying_device_is_named(judged) -> None:
    devices = tuple(
        EmulatedDevice(
            id=f"vfio{n}",
            seed=n,
            load=LoadBehaviour(lie=Lie.WRONG_BYTE if n == 1 else None),
        )
        for n in range(3)
    )
    run = await judged(Scenario(name="one-lies", devices=devices))
    finding = run.verdict.finding("ORD-1")
    assert finding.outcome is Outcome.VIOLATED
    assert {record.device for record in finding.evidence} == {"vfio1"}
