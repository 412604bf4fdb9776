"""DMA-2: A log of DMA that cannot start, report or stop never leaves pages silently clean.

The migration fails, and the source reports a reason; or QEMU takes all pages for dirty.  So it is
if a device keeps no log, and its IOMMU neither: "all pages are perpetually marked dirty"
(docs/devel/migration/vfio.rst).  vfio_devices_dma_logging_start() and vfio_listener_log_sync() in
hw/vfio/listener.c report the failures of a device.  A log that cannot be stopped is a
warning: what it is for is over.  QEMU stops it only where the source runs again
(memory_global_dirty_log_stop() in system/memory.c).

How it could be wrong.  VIOLATED of a right QEMU: for a reason that QEMU words otherwise; so any
error counts that has the device's errno or is about dirty pages.  Pages count as in DMA-1.  VALID
for nothing seen: a failure must have been recorded, or a write without a log.
"""

import os
import re

from harness.check import dma
from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.rule import Rule, not_judged
from harness.check.verdict import Finding, Outcome
from harness.history.device import DmaLog, DmaWrite, LogCall
from harness.history.records import Record, Side
from harness.model.expectation import Ending, Expectation
from harness.scenario import EmulatedDevice, Scenario

RULE = Rule(
    id="DMA-2",
    title="A log of DMA that fails, or is not there, leaves no page silently clean",
    trusts=(Assumption.ENDINGS_KNOWN,),
)
_REACHES_DEVICES = (
    Ending.COMPLETED,
    Ending.DEVICE_ERROR,
    Ending.STOPPED,
    Ending.NOT_CONVERGED,
    Ending.NOT_JUDGED,
)
_ORDER = (Outcome.VIOLATED, Outcome.UNKNOWN, Outcome.VALID)
"""Of several devices the first one counts."""
_ABOUT_LOG = re.compile(r"dirty|DMA logging", re.IGNORECASE)


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    if expectation.ending not in _REACHES_DEVICES:
        return f"the migration does not get that far: {expectation.ending}"
    return dma.why_no_dma(scenario) or not_judged(expectation)


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    return "" if _judged(evidence) else "each device that makes DMA has a log without failures"


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    found = [_device(evidence, spec) for spec in _judged(evidence)]
    return min(found, key=lambda finding: _ORDER.index(finding.outcome))


def _judged(evidence: Evidence) -> list[EmulatedDevice]:
    return [
        spec
        for spec in evidence.scenario.emulated
        if spec.dma.pages
        and (
            dma.failures(evidence, spec.id)
            or (evidence.of(DmaWrite, Side.SOURCE, spec.id) and not dma.has_log(evidence, spec.id))
        )
    ]


def _device(evidence: Evidence, spec: EmulatedDevice) -> Finding:
    failed = dma.failures(evidence, spec.id)
    # A failure that comes before decides: what follows it is about a migration that has failed.
    failure = next(
        (each for each in failed if dma.call_of(each) != "stop"), failed[0] if failed else None
    )
    call = dma.call_of(failure) if failure else ""
    what = f"{spec.id} failed the {call} of its log" if call else f"{spec.id} has no log"
    if evidence.endings.status(Side.SOURCE) != "completed" and failure:
        return _stopped(evidence, what) if call == "stop" else _failed(evidence, what, failure)
    found = dma.compare(evidence, spec)
    if found.lost:
        return RULE.violated(
            f"{what}, the migration completed, and {found.words(list(found.lost))}",
            failure,
            *found.records,
            shape=f"pages-lost-after-{call}-failed" if call else _without_log(evidence),
            pages_lost=len(found.lost),
        )
    if found.why_not:
        return RULE.unknown(f"{what}: {found.why_not}")
    return RULE.valid(f"{what}, and all pages have what it wrote last", pages=found.pages)


def _without_log(evidence: Evidence) -> str:
    """The shape of a loss without a log: there may be one of other devices."""
    starts = evidence.of(DmaLog, Side.SOURCE)
    is_by_iommu = any(record.args.by == "iommu" for record in starts)
    return "pages-lost-besides-the-iommus-log" if is_by_iommu else "pages-lost-without-a-log"


def _stopped(evidence: Evidence, what: str) -> Finding:
    """Of a migration that did not complete: no page goes anywhere any more."""
    warned = [text for _, text in evidence.endings.warnings(Side.SOURCE) if _ABOUT_LOG.search(text)]
    if warned:
        return RULE.valid(
            f"{what} once the migration was over, and a warning says so", said=warned[0]
        )
    return RULE.unknown(f"{what} once the migration was over, and no warning was seen")


def _failed(evidence: Evidence, what: str, failure: Record[DmaLog] | Record[LogCall]) -> Finding:
    status = evidence.endings.status(Side.SOURCE)
    if status != "failed":
        return RULE.unknown(f"{what}; the source's status is {status or 'not known'}")
    said = evidence.endings.errors_since(Side.SOURCE, failure.t_ns)
    why = os.strerror(failure.args.errno)
    for _, text in (*said.certain, *said.possible):
        if why in text or _ABOUT_LOG.search(text):
            return RULE.valid(f"{what}, and the migration failed", said=text)
    if not said.certain:
        return RULE.unknown(f"{what}, the migration failed, and no reason was seen")
    record, text = said.certain[-1]
    return RULE.violated(
        f'{what}, the migration failed, and the source reports another reason: "{text}"',
        failure,
        record,
        shape="other-reason",
    )
