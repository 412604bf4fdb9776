"""DMA-1 to DMA-3: what a device writes to the guest's RAM while it is migrated."""

import errno
from typing import Any

import pytest

from harness.check.verdict import Outcome
from harness.history.device import DmaLog, DmaWrite, LogCall
from harness.history.records import Side
from harness.scenario import EmulatedDevice, Scenario
from harness.scenario.action_plan import Execute, Target, status
from harness.scenario.dma import Dma, Reports
from harness.scenario.main_job import STAYS_ACTIVE


def writing(id: str = "vfio0", **fields) -> EmulatedDevice:
    """Its state is one buffer, which no known deadlock needs."""
    own = ("p2p", "pre_copy", "dma_logging", "iommu_tracking")
    more = {name: fields.pop(name) for name in own if name in fields}
    return EmulatedDevice(id=id, size=1000, dma=Dma(**{"pages": 5, **fields}), **more)


def scenario(*devices: EmulatedDevice, **fields) -> Scenario:
    return Scenario(name="dma", devices=devices, **fields)


def seen(run, of):
    return [r.args for r in run.history.records if r.side is Side.SOURCE and isinstance(r.args, of)]


@pytest.mark.requirement("DMA-1", "DMA-3")
@pytest.mark.parametrize(
    "device",
    [
        writing(stride=65),
        writing(p2p=False),
        writing(pre_copy=True, at=15 << 20),
    ],
    ids=["p2p", "plain", "pre-copy"],
)
async def test_pages_arrive_with_what_was_written_last(judged, kept, device) -> None:
    run = await judged(scenario(device))
    kept(run, "DMA-1")
    kept(run, "DMA-3")
    moments = [write.moment for write in seen(run, DmaWrite)]
    assert moments[:3] == ["before the log", "first logged", "after a report"]
    assert moments[-1] == "before it stops"


@pytest.mark.requirement("DMA-1")
@pytest.mark.parametrize("detection", ["multifd", "legacy"])
async def test_page_that_becomes_zero_is_zero_at_the_destination(judged, kept, detection) -> None:
    device = writing(zeros=True)
    kept(await judged(scenario(device, parameters={"zero-page-detection": detection})), "DMA-1")


@pytest.mark.requirement("DMA-1", "DMA-3")
async def test_devices_have_logs_of_their_own(judged, kept) -> None:
    run = await judged(scenario(writing(), writing("vfio1", at=8 << 20)))
    kept(run, "DMA-1")
    kept(run, "DMA-3")
    assert run.verdict.finding("DMA-1").numbers["pages"] == 10


@pytest.mark.requirement("DMA-1")
async def test_page_that_is_left_out_of_the_log_is_named(judged) -> None:
    run = await judged(scenario(writing(omits=(3,))))
    assert run.verdict.exit_status == 1
    assert run.verdict.with_outcome(Outcome.VIOLATED) == ("DMA-1",)
    finding = run.verdict.finding("DMA-1")
    assert finding.shape == "page-left-out-of-the-log"
    assert finding.numbers == {"pages_lost": 1}
    assert "vfio0: page 0x403000 has what the device wrote as number" in finding.sentence


@pytest.mark.requirement("DMA-2")
@pytest.mark.parametrize(
    ("fields", "call"),
    [
        ({"start_errno": errno.ENOMEM}, ""),
        ({"report_errno": errno.EIO}, "report"),
        ({"report_errno": errno.EIO, "reports": Reports.LAST}, "report"),
    ],
    ids=["start", "report", "last report"],
)
async def test_log_that_fails_ends_the_migration_with_a_reason(judged, kept, fields, call) -> None:
    run = await judged(scenario(writing(**fields)))
    kept(run, "DMA-2")
    assert run.verdict.finding("RUN").outcome is Outcome.VALID
    failed = {each.call for each in seen(run, LogCall) if each.errno}
    assert failed == ({call} if call else set())


@pytest.mark.requirement("DMA-2")
async def test_log_that_cannot_be_stopped_is_a_warning(judged, kept) -> None:
    cancel = Execute(
        when=status(Target.SOURCE, "active"), target=Target.SOURCE, command="migrate_cancel"
    )
    device = writing(stop_errno=errno.EIO)
    run = await judged(scenario(device, parameters=STAYS_ACTIVE, actions=(cancel,)))
    kept(run, "DMA-2")
    assert [each.errno for each in seen(run, LogCall) if each.call == "stop"] == [errno.EIO]


@pytest.mark.requirement("DMA-3")
async def test_limit_on_ranges_is_kept(judged, kept) -> None:
    run = await judged(scenario(writing(max_ranges=1)))
    kept(run, "DMA-3")
    assert run.verdict.finding("DMA-3").numbers["ranges"] == 1


# -- by the IOMMU ------------------------------------------------------------------------

IOMMU: dict[str, Any] = {"dma_logging": False, "iommu_tracking": True}


@pytest.mark.requirement("DMA-1")
async def test_iommu_keeps_the_log(judged, kept) -> None:
    devices = writing(**IOMMU, stride=65), writing("vfio1", **IOMMU, at=8 << 20)
    run = await judged(scenario(*devices))
    kept(run, "DMA-1")
    assert {log.by for log in seen(run, DmaLog)} == {"iommu"}
    assert run.verdict.finding("DMA-1").numbers["pages"] == 10


@pytest.mark.requirement("DMA-1")
async def test_page_that_is_left_out_of_the_iommus_log_is_named(judged) -> None:
    run = await judged(scenario(writing(**IOMMU, omits=(0,))))
    assert run.verdict.with_outcome(Outcome.VIOLATED) == ("DMA-1",)
    assert "vfio0: page 0x400000 has" in run.verdict.finding("DMA-1").sentence


@pytest.mark.requirement("DMA-2")
@pytest.mark.parametrize(
    "fields", [{"start_errno": errno.ENOMEM}, {"report_errno": errno.EIO}], ids=["start", "report"]
)
async def test_iommus_log_that_fails_ends_the_migration_with_a_reason(judged, kept, fields) -> None:
    run = await judged(scenario(writing(**IOMMU, **fields)))
    kept(run, "DMA-2")
    assert run.verdict.finding("RUN").outcome is Outcome.VALID


@pytest.mark.requirement("DMA-1", "DMA-3")
async def test_devices_own_log_is_taken_first(judged, kept) -> None:
    run = await judged(scenario(writing(iommu_tracking=True)))
    kept(run, "DMA-1")
    kept(run, "DMA-3")
    assert {log.by for log in seen(run, DmaLog)} == {"device"}
