"""DMA-3: The ranges of DMA_LOGGING_START cover all that is mapped, in no more than a device takes.

vfio_dirty_tracking_init() in hw/vfio/listener.c reduces the address space to three ranges at most.
Linux takes as many as fit into one page (LOG_MAX_RANGES in drivers/vfio/vfio_main.c), multiples of
the page size, none of which overlaps another.  What was mapped for the device to write to, when
the log started, must be in one of them: a write anywhere else is not logged.

How it could be wrong.  VIOLATED of a right QEMU: for a mapping that came after the start; only
those of that moment count, as the emulated IOMMU has them.  VALID for nothing seen: a start with
at least one mapping must have been recorded.
"""

from harness.check import dma
from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.rule import Rule, not_judged
from harness.check.verdict import Finding
from harness.history.device import DmaLog
from harness.history.records import Record, Side
from harness.model.expectation import Expectation
from harness.scenario import Scenario

RULE = Rule(
    id="DMA-3",
    title="The ranges of a device's log cover all that is mapped, in no more than it takes",
    trusts=(Assumption.ENDINGS_KNOWN,),
)
_MOST = 256
"""Ranges of 16 bytes in a page of 4 KiB."""


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    return dma.why_no_dma(scenario) or not_judged(expectation)


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    return "" if _starts(evidence) else "no device was asked to keep a log"


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    mappings, most = 0, 0
    for record in _starts(evidence):
        finding = _wrong(record)
        if finding is not None:
            return finding
        mappings += len(record.args.mapped)
        most = max(most, record.args.count)
    if not mappings:
        return RULE.unknown("nothing was mapped for the devices")
    return RULE.valid("the ranges cover all mappings", mappings=mappings, ranges=most)


def _starts(evidence: Evidence) -> list[Record[DmaLog]]:
    """Of logs that devices keep; that of an IOMMU has no ranges."""
    starts = evidence.of(DmaLog, Side.SOURCE)
    return [record for record in starts if record.args.by == "device"]


def _wrong(record: Record[DmaLog]) -> Finding | None:
    asked, device = record.args, record.device
    if not 1 <= asked.count <= _MOST:
        return RULE.violated(
            f"{device}: QEMU gave {asked.count} ranges; Linux takes 1 to {_MOST}",
            record,
            shape="number-of-ranges",
        )
    if not asked.ranges:
        return None  # refused for their number, before they were read
    end = 0
    for iova, length in sorted(asked.ranges):
        if iova % asked.page_size or length % asked.page_size or not length or iova < end:
            return RULE.violated(
                f"{device}: Linux takes no range of {length:#x} bytes at {iova:#x}",
                record,
                shape="malformed-range",
            )
        end = iova + length
    for iova, length in asked.mapped:
        if not _is_covered(iova, length, asked.ranges):
            return RULE.violated(
                f"{device}: {length:#x} bytes are mapped at {iova:#x}, and no range covers them",
                record,
                shape="mapping-not-covered",
            )
    return None


def _is_covered(iova: int, length: int, ranges: list[tuple[int, int]]) -> bool:
    """Whether the ranges cover ``length`` bytes at ``iova``, perhaps several of them together."""
    end = iova + length
    for start, size in sorted(ranges):
        if start <= iova < start + size:
            iova = start + size
    return iova >= end
