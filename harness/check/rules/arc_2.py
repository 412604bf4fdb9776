"""ARC-2: A missing or a second data_fd fails the migration, and none is left open.

Each change of a device's migration state gives at most one data_fd, and one only where a transfer
begins (vfio.h of Linux).  If it is missing, there is nothing to move the state by.  If there is a
second one, QEMU closes it ("data_fd out of sync", vfio_migration_set_state() in
hw/vfio/migration.c: a device that was reset may give one).  The migration fails on both sides, the
side with the device names it in its error, and the source's guest runs on (see
check/device_failure.py).  After it, no QEMU has a data_fd open.

It applies to changes that each migration asks for: into PRE_COPY, STOP or STOP_COPY at the source,
into RESUMING at the destination.

How it could be wrong.  VIOLATED of a right QEMU: it closes a data_fd a moment after it reports the
end; so the harness gives it seconds, in which time without a processor does not count.  A
destination that has exited has closed all.  VALID for nothing seen: the device must have recorded
what it gave, and the descriptors of each QEMU that runs must have been counted.
"""

from harness.check import device_failure
from harness.check.assumptions import Assumption
from harness.check.evidence import PEERS, Evidence
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history.device import DataFdError
from harness.history.process import DataFds
from harness.history.records import Record, Side
from harness.model.expectation import Ending, Expectation
from harness.scenario import EmulatedDevice, Given, Scenario

RULE = Rule(
    id="ARC-2",
    title="A missing or a second data_fd fails the migration, and none is left open",
    trusts=(Assumption.ENDINGS_KNOWN,),
)


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    if not any(spec.data_fds for spec in scenario.emulated):
        return "no device gives a wrong number of data_fds"
    if any(_fails_otherwise(spec) for spec in scenario.emulated):
        return "a device may fail another call first"
    if expectation.ending is not Ending.DEVICE_ERROR:
        return f"the migration need not come to the data_fd: {expectation.ending}"
    return ""


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    wrong = evidence.of(DataFdError)
    failed = min(wrong, key=lambda record: record.t_ns, default=None)
    if failed is None:
        return RULE.unknown("no device was seen to give a wrong number of data_fds")
    number = "no data_fd" if Given(failed.args.gives) is Given.NONE else "one data_fd too many"
    what = f"{failed.device} gave {number} with {failed.args.state} at the {failed.side}"
    found = device_failure.not_failed(RULE, evidence, what, failed)
    if found is not None:
        return found
    left = _left(evidence)
    for record in left:
        if record.args.open:
            return RULE.violated(
                f"{what}, and the {record.side} has {record.args.open} open after the migration",
                failed,
                record,
                shape=f"{record.side}-data-fd-left",
            )
    seen = {record.side for record in left}
    for peer in PEERS:
        if peer not in seen and not _has_exited(evidence, peer):
            return RULE.unknown(f"{what}; the data_fds of the {peer} were not counted")
    devices = {record.device for record in wrong if record.side is failed.side}
    said = device_failure.naming(evidence, failed, devices)
    if not said:
        return device_failure.unnamed(RULE, evidence, what, failed, devices)
    return device_failure.runs_on(RULE, evidence, what, failed, said)


def _fails_otherwise(spec: EmulatedDevice) -> bool:
    is_error = any(at is not None for at in (spec.save.error_at, spec.load.error_at))
    fails_call = spec.refuses or spec.fails_sizes or spec.interrupts.arm_errno
    return is_error or spec.dma.fails or bool(fails_call)


def _left(evidence: Evidence) -> list[Record[DataFds]]:
    """What each QEMU had open after the migration."""
    return [record for side in PEERS for record in evidence.of(DataFds, side)[-1:]]


def _has_exited(evidence: Evidence, peer: Side) -> bool:
    """Whether it was a destination that had ended before it could be counted."""
    return peer is Side.DESTINATION and evidence.endings.crash(peer) is not None
