"""ORD-4: MSI-X interrupts, fired before the migration, as the device stops and as it runs on."""

from typing import Any

import pytest

from harness.check.verdict import Outcome
from harness.history import Side
from harness.history.session import GuestInterrupts
from harness.job.run import Run
from harness.scenario import EmulatedDevice, OnOffAuto, Scenario
from harness.scenario.interrupts import At, Fire, Interrupts

BEFORE, RUNNING = Fire(at=At.BEFORE), Fire(at=At.RUNNING, vector=5)


def scenario(*fires: Fire, transfer: OnOffAuto = OnOffAuto.ON, **fields: Any) -> Scenario:
    interrupts = Interrupts(vectors=6, fires=fires, **fields)
    device = EmulatedDevice(id="vfio0", size=1000, multifd_transfer=transfer, interrupts=interrupts)
    return Scenario(name="interrupts", devices=(device,))


def seen(run: Run, side: Side, moment: str) -> GuestInterrupts:
    (found,) = [
        record.args
        for record in run.history.records
        if isinstance(record.args, GuestInterrupts)
        and record.side is side
        and record.args.moment == moment
    ]
    return found


@pytest.mark.requirement("ORD-4")
@pytest.mark.parametrize("transfer", [OnOffAuto.ON, OnOffAuto.OFF])
async def test_interrupts_arrive_on_both_sides(judged, kept, transfer) -> None:
    run = await judged(scenario(BEFORE, RUNNING, transfer=transfer))
    kept(run, "RUN", "ORD-1", "ORD-4")
    assert run.verdict.finding("ORD-4").numbers["interrupts_arrived"] == 2
    assert seen(run, Side.SOURCE, "before").arrived == [0]
    assert seen(run, Side.DESTINATION, "after").arrived == [0, 5]
    assert seen(run, Side.DESTINATION, "after").programmed == list(range(6))


@pytest.mark.requirement("ORD-4")
async def test_masked_interrupt_of_the_destination_comes_once_it_is_unmasked(judged, kept) -> None:
    run = await judged(scenario(RUNNING, masked=True))
    kept(run, "RUN", "ORD-4")
    assert seen(run, Side.DESTINATION, "after").arrived == []
    assert seen(run, Side.DESTINATION, "unmasked").arrived == [5]


@pytest.mark.requirement("ORD-4")
async def test_interrupt_that_is_masked_at_the_source_stays_pending(judged, kept) -> None:
    run = await judged(scenario(BEFORE, masked=True))
    assert seen(run, Side.SOURCE, "before").pending == [0]
    assert seen(run, Side.DESTINATION, "unmasked").arrived == [0]
    kept(run, "ORD-4", case="pending bits of a masked function")


@pytest.mark.requirement("ORD-4")
async def test_interrupt_that_is_fired_as_the_device_stops(judged, kept) -> None:
    run = await judged(scenario(Fire(at=At.STOPPING)))
    kept(run, "ORD-4", case="interrupt as the device stops")


@pytest.mark.requirement("ORD-4")
async def test_device_that_cannot_arm_its_vectors(judged, kept) -> None:
    run = await judged(scenario(arm_errno=5))
    finding = run.verdict.finding("RUN")
    assert finding.outcome is Outcome.VALID, finding.sentence
    kept(run, "ORD-4", case="vectors that cannot be armed")
