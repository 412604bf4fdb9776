"""ARC-1: A refused arc fails the migration, and the error names the device.

An arc is a change of a device's migration state.  If the device fails it, QEMU sets the device's
recovery state, and resets it if that fails or there is none (vfio_migration_set_state() in
hw/vfio/migration.c; vfio.h of Linux: only a reset leads out of ERROR).  The migration fails on
both sides, the side with the device names it in its error, and the source's guest runs on (see
check/device_failure.py).

It applies if a device refuses an arc that each migration takes: into PRE_COPY or STOP_COPY at the
source, into RESUMING at the destination.

How it could be wrong.  VIOLATED of a right QEMU: the error may have been reported earlier, or be
about a fault; so an error without the name counts only if it is known to be later, and no fault was
before.  A reset may come after an answer of another thread; so a device is left alone only if it is
neither set to a state nor reset up to the end of the run, and its QEMU is a source that answered.
VALID for nothing seen: the device must have recorded that it refused the arc.
"""

import os

from harness.check import device_failure
from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history.device import Arc, Reset
from harness.history.records import Kind, Record, Side
from harness.model.expectation import Ending, Expectation
from harness.scenario import EmulatedDevice, Scenario

RULE = Rule(
    id="ARC-1",
    title="A refused change of a device's migration state fails the migration, and the error "
    "names the device",
    trusts=(Assumption.ENDINGS_KNOWN,),
)


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    if not any(spec.refuses for spec in scenario.emulated):
        return "no device refuses an arc"
    if any(_fails_otherwise(spec) for spec in scenario.emulated):
        return "a device may fail another call first"
    if expectation.ending is not Ending.DEVICE_ERROR:
        return f"the migration need not come to the arc: {expectation.ending}"
    return ""


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    failed = _refused(evidence)
    if failed is None:
        return RULE.unknown("no device was seen to refuse an arc")
    side, endings = failed.side, evidence.endings
    why = os.strerror(failed.args.errno)
    what = f"{failed.device} refused {failed.args.state} at the {side} ({why})"
    devices = {record.device for record in evidence.of(Arc, side) if record.args.errno}
    wrong = device_failure.not_failed(RULE, evidence, what, failed)
    if wrong is not None:
        return wrong
    after = _set_after(evidence, failed)
    if after is None:
        answers = endings.commands(side, "query-migrate", "return")
        later = [record for record in answers if record.t_ns > failed.t_ns]
        if side is Side.SOURCE and later:
            sentence = f"{what}, and was neither set to a state nor reset"
            return RULE.violated(sentence, failed, later[-1], shape="left-alone")
        return RULE.unknown(f"{what}; no state and no reset of it was seen since")
    said = device_failure.naming(evidence, failed, devices)
    if not said:
        return device_failure.unnamed(RULE, evidence, what, failed, devices)
    how = "was reset" if isinstance(after.args, Reset) else "was set to its recovery state"
    return device_failure.runs_on(RULE, evidence, f"{what} and {how}", failed, said)


def _fails_otherwise(spec: EmulatedDevice) -> bool:
    errors = (spec.save.error_at, spec.load.error_at)
    is_error = any(at is not None for at in errors)
    return spec.dma.fails or spec.fails_sizes or is_error or bool(spec.data_fds)


def _refused(evidence: Evidence) -> Record[Arc] | None:
    """The first arc that was refused as planned."""
    planned = {
        (spec.id, arc.side, arc.errno)
        for spec in evidence.scenario.emulated
        for arc in spec.refuses
    }
    found = [
        record
        for record in evidence.of(Arc)
        if (record.device, record.side.value, record.args.errno) in planned
    ]
    return min(found, key=lambda record: record.t_ns, default=None)


def _set_after(evidence: Evidence, failed: Record[Arc]) -> Record | None:
    """The first state that the device took since, or its reset."""
    for record in evidence.sequence(Kind.DEVICE, failed.side, failed.device):
        if record.t_ns <= failed.t_ns:
            continue
        match record.args:
            case Arc(errno=0) | Reset():
                return record
    return None
