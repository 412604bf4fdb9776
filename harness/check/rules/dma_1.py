"""DMA-1: Pages that a device writes by DMA while it is migrated arrive with their last content.

QEMU asks the device, or its IOMMU, for the pages that it has written, in each pass over RAM and
once more when the device has stopped (vfio_container_query_dirty_bitmap() in
hw/vfio/container.c), and sends these again.  The emulated device writes its pages before the log
starts, after that, after reports, and right before it stops.  Then the pages of both QEMUs are
compared.

If QEMU keeps no log of the device, or the device fails a call about it, DMA-2 judges that.  A
device can be made to leave pages out of its log (``dma.omits``): the rule must name these pages,
and the device is to blame.

How it could be wrong.  VIOLATED of a right QEMU: if something else wrote to a page after the source
had stopped; so pages count only if the source has the device's last write, and the device of the
destination has written nothing.  VALID for nothing seen: the device must have written while its
log was kept, and each page must have been read on both sides.
"""

from harness.check import dma
from harness.check.evidence import Evidence
from harness.check.rule import Rule, completed
from harness.check.verdict import Finding
from harness.history.device import DmaWrite
from harness.history.records import Side
from harness.model.expectation import Expectation
from harness.scenario import EmulatedDevice, Scenario

RULE = Rule(id="DMA-1", title="Pages that a device writes by DMA arrive with their last content")


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    return dma.why_no_dma(scenario) or completed(scenario, expectation)


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    return "" if _judged(evidence) else "no device that makes DMA has a log without failures"


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    pages, writes, why_not = 0, 0, ""
    for spec in _judged(evidence):
        found = dma.compare(evidence, spec)
        if found.lost:
            return _lost(spec, found)
        logged = [
            record
            for record in evidence.of(DmaWrite, Side.SOURCE, spec.id)
            if record.args.logged and not record.args.unmapped
        ]
        why_not = why_not or (found.why_not and f"{spec.id}: {found.why_not}")
        if not logged:
            why_not = why_not or f"{spec.id}: it wrote nothing while its log was kept"
        pages, writes = pages + found.pages, writes + len(logged)
    numbers = {"pages": pages, "logged_writes": writes}
    if why_not:
        return RULE.unknown(why_not, **numbers)
    return RULE.valid("all pages have what the device wrote last", **numbers)


def _judged(evidence: Evidence) -> list[EmulatedDevice]:
    return [
        spec
        for spec in evidence.scenario.emulated
        if spec.dma.pages and dma.has_log(evidence, spec.id) and not dma.failures(evidence, spec.id)
    ]


def _lost(spec: EmulatedDevice, found: dma.Comparison) -> Finding:
    omitted = {hex(address) for address in spec.dma.omitted}
    if by_qemu := [address for address in found.lost if address not in omitted]:
        return RULE.violated(
            f"{spec.id}: {found.words(by_qemu)}",
            *found.records,
            shape="page-differs",
            pages_lost=len(by_qemu),
        )
    return RULE.violated(
        f"{spec.id}: {found.words(list(found.lost))}: "
        "the device left it out of its log, as planned",
        *found.records,
        shape="page-left-out-of-the-log",
        pages_lost=len(found.lost),
    )
