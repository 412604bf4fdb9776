"""DMA-2: a log that fails leaves no page silently clean."""

import msgspec
import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.device import DmaLog, LogCall
from harness.history.records import Record
from tests.twins.damage import one, some, swap
from tests.twins.twin import twin
from tests.unit.check.histories import changed, completed, failed_by_log, find, good, scenario
from tests.unit.check.story import DST, SRC, device
from tests.unit.check.written import LOG, with_dma, writing

REPORT = LogCall(call="report", errno=5, pages=0, is_running=False)
STOP = LogCall(call="stop", errno=5, pages=0, is_running=True)
LOST = (0, "0" * 16)


def losing(records: list[Record]) -> list[Record]:
    arrived = one(records, "dma_pages", side=DST)
    return swap(records, [arrived], pages=dict.fromkeys(arrived.args.pages, LOST))


@twin("DMA-2", on="dma without a log")
def pages_without_a_log_are_taken_for_clean(records: list[Record]) -> list[Record]:
    return losing(records)


@twin("DMA-2", on="dma, a log fails")
def other_reason_is_reported(records: list[Record]) -> list[Record]:
    why = "operation cancelled"
    answer = one(records, "return", command="query-migrate", side="source")
    records = swap(records, [answer], value={"status": "failed", "error-desc": why})
    return swap(records, some(records, "stderr", side="source"), line=why)


def test_device_whose_log_works_is_not_judged():
    why = "each device that makes DMA has a log without failures"
    assert judge(good("dma")).not_applicable["DMA-2"] == why
    assert judge(completed(scenario())).not_applicable["DMA-2"] == "no device makes DMA"


def test_migration_that_fails_with_a_reason_is_valid():
    finding = find(good("dma, a log fails"), "DMA-2")
    assert finding.outcome is Outcome.VALID
    assert "Failed to start DMA logging" in finding.numbers["said"]
    verdict = judge(good("dma, a log fails"))
    assert verdict.overall is not Outcome.VIOLATED
    assert verdict.finding("RUN").outcome is Outcome.VALID


@pytest.mark.parametrize("why", ["Input/output error", "Could not start dirty page tracking"])
def test_reason_is_the_errno_or_about_the_log(why):
    assert find(failed_by_log(why), "DMA-2").outcome is Outcome.VALID


def test_reason_of_something_else_is_a_violation():
    finding = find(failed_by_log("operation cancelled"), "DMA-2")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.shape == "other-reason"
    assert '"operation cancelled"' in finding.sentence


def test_all_pages_may_be_taken_for_dirty_instead():
    """Such a QEMU completes."""
    run = completed(scenario(writing(start_errno=5)))
    run = with_dma(run, log=msgspec.structs.replace(LOG, errno=5))
    assert find(run, "DMA-2").outcome is Outcome.VALID
    assert find(run, "RUN").outcome is Outcome.VALID
    finding = find(changed(run, losing(list(run.records))), "DMA-2")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.shape == "pages-lost-after-start-failed"


def test_report_that_fails_and_changes_nothing_is_a_violation():
    run = with_dma(completed(scenario(writing(report_errno=5))), REPORT)
    assert find(run, "DMA-2").outcome is Outcome.VALID
    finding = find(changed(run, losing(list(run.records))), "DMA-2")
    assert finding.shape == "pages-lost-after-report-failed"
    assert "vfio0 failed the report of its log" in finding.sentence


def test_device_without_a_log():
    run = good("dma without a log")
    assert find(run, "DMA-2").outcome is Outcome.VALID
    finding = find(changed(run, losing(list(run.records))), "DMA-2")
    assert finding.shape == "pages-lost-without-a-log"
    assert "vfio0 has no log, the migration completed, and page 0x400000 (and 1 pages more)" in (
        finding.sentence
    )


def test_stop_that_fails_loses_nothing():
    run = with_dma(completed(scenario(writing(stop_errno=5))), STOP)
    assert find(run, "DMA-2").outcome is Outcome.VALID


def test_plan_that_failed_nothing_makes_the_run_unknown():
    run = with_dma(completed(scenario(writing(stop_errno=5))))
    finding = find(run, "RUN")
    assert finding.outcome is Outcome.UNKNOWN
    assert "vfio0: no stop of its log failed" in finding.sentence


def test_worst_device_counts():
    run = with_dma(
        completed(scenario(writing(report_errno=5), writing("vfio1", at=8 << 20))), REPORT
    )
    assert find(changed(run, losing(list(run.records))), "DMA-2").outcome is Outcome.VIOLATED


def test_device_without_a_log_besides_one_of_the_iommu_has_a_shape_of_its_own():
    spec = writing("vfio1", at=8 << 20)
    run = with_dma(completed(scenario(device(size=1000), spec)), log=None, only=spec)
    start = DmaLog(page_size=0, count=0, ranges=[], mapped=[], errno=0, by="iommu")
    records = [*run.records, Record.of(run.records[-1].t_ns, SRC, start, "vfio0")]
    finding = find(changed(run, losing(records)), "DMA-2")
    assert finding.shape == "pages-lost-besides-the-iommus-log"
    assert finding.sentence.startswith("vfio1 has no log")


def test_log_of_the_iommu_is_a_log():
    start = DmaLog(page_size=0, count=0, ranges=[], mapped=[], errno=0, by="iommu")
    run = with_dma(completed(scenario(writing(dma_logging=False, iommu_tracking=True))), log=start)
    assert find(run, "DMA-1").outcome is Outcome.VALID
    assert {"DMA-2", "DMA-3"} <= judge(run).not_applicable.keys()
