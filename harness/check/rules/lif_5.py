"""LIF-5: A device that fails a read or a write fails the migration on both sides.

It applies when the scenario's device fails at a byte that is reached.  The side with the device
names it in its error: by its id, by its name in the trace, or by the name of its section in the
stream.  The source's guest runs on.  Without a return path the source does not learn that the
destination's device failed, and may complete (see check/device_failure.py).

So does a destination's device that fails to arm the interrupts that the guest has enabled
(vfio_msix_enable() in hw/vfio/pci.c, called once the configuration is loaded): its guest would wait
for them forever.

ENOMSG is no failure: it ends a device's pre-copy (``vfio.h``).  ENODEV is none either: a reset or
a change of state has ended the data_fd.
"""

import errno
from collections.abc import Sequence

from harness.check import device_failure
from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history.device import Armed, Read, Write
from harness.history.records import Record, Side
from harness.model.expectation import Ending, Expectation
from harness.scenario import Scenario

RULE = Rule(
    id="LIF-5",
    title="A device that fails a read or a write fails the migration, and the error names it",
    trusts=(Assumption.ENDINGS_KNOWN,),
)
Call = Record[Read] | Record[Write] | Record[Armed]
_NO_FAILURE = (0, errno.ENOMSG, errno.ENODEV)


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    if expectation.ending is not Ending.DEVICE_ERROR:
        return "no device fails"
    if any(spec.dma.fails for spec in scenario.emulated):
        return "a device may fail a call about its log (DMA-2)"
    if any(spec.refuses or spec.data_fds for spec in scenario.emulated):
        return "a device fails an arc (ARC-1)"
    if any(spec.fails_sizes for spec in scenario.emulated):
        return "a device misreports its sizes (PRE-4)"
    return ""


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    failed = _failure(evidence)
    if failed is None:
        return RULE.unknown("no device was seen to fail a read, a write or to arm interrupts")
    side = failed.side
    what = f"{failed.device} {_words(failed)}"
    devices = {record.device for record in _failures(evidence, side)}
    wrong = device_failure.not_failed(RULE, evidence, what, failed)
    if wrong is not None:
        return wrong
    said = device_failure.naming(evidence, failed, devices)
    if not said:
        return device_failure.unnamed(RULE, evidence, what, failed, devices)
    return device_failure.runs_on(RULE, evidence, what, failed, said)


def _failure(evidence: Evidence) -> Call | None:
    """The first call that a device failed."""
    calls = [*_failures(evidence, Side.SOURCE), *_failures(evidence, Side.DESTINATION)]
    return min(calls, key=lambda record: record.t_ns, default=None)


def _words(failed: Call) -> str:
    if isinstance(failed.args, Armed):
        return "failed to arm its interrupts"
    return f"failed a {failed.name} at byte {failed.args.offset}"


def _failures(evidence: Evidence, side: Side) -> list[Call]:
    calls: Sequence[Call] = (
        evidence.of(Read, side)
        if side is Side.SOURCE
        else [*evidence.of(Write, side), *evidence.of(Armed, side)]
    )
    return [record for record in calls if record.args.errno not in _NO_FAILURE]
