"""PRE-3: Between pre-copy and stop-copy nothing is lost and nothing is sent twice.

QEMU reads a device's state in two parts from one ``data_fd``: while the device is in PRE_COPY, and
after its stop.  ENOMSG ends a read of pre-copy; it is no error (linux/vfio.h; vfio_save_block() in
hw/vfio/migration.c).  Dirty bytes may grow or shrink meanwhile (``precopy_changes``).

How it could be wrong.  VIOLATED of a right QEMU: only a completed migration is compared, of a
device that gives no wrong sizes (PRE-4) and no lie, with no faults on the way; an error counts only
if it has the words of ENOMSG.  VALID for nothing seen: bytes must have been read in pre-copy, all
of the state must have been read, and the destination's device must have been given just that.
"""

import errno
import os

from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.rule import Rule, completed
from harness.check.verdict import Finding
from harness.history.device import Arc, DataFd, PrecopyChanged, Read, Received, Sent
from harness.history.records import Record, Side
from harness.model.expectation import Expectation
from harness.scenario import EmulatedDevice, Scenario

RULE = Rule(
    id="PRE-3",
    title="Between pre-copy and stop-copy nothing is lost, and nothing is sent twice",
    needs=(Assumption.COMPLETE, Assumption.LAUNCHED),
    trusts=(Assumption.ENDINGS_KNOWN,),
)
_ENOMSG = os.strerror(errno.ENOMSG)


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    if not any(_is_judged(spec) for spec in scenario.emulated):
        return "no device that tells the truth gives state in pre-copy"
    if scenario.faults or any(spec.load.lie for spec in scenario.emulated):
        return "faults or lies change what arrives"
    return completed(scenario, expectation)


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    judged = [spec for spec in evidence.scenario.emulated if _is_judged(spec)]
    reads = {spec.id: _reads(evidence, spec.id) for spec in judged}
    empty = [read for each in reads.values() for read in each if read.args.errno == errno.ENOMSG]
    status = evidence.endings.status(Side.SOURCE)
    if status == "failed" and empty:
        for record, text in evidence.endings.texts(Side.SOURCE):
            if _ENOMSG in text:
                return RULE.violated(
                    f'the source failed because a read of pre-copy ended with ENOMSG: "{text}"',
                    empty[0],
                    record,
                    shape="enomsg-taken-for-an-error",
                )
    if not evidence.endings.is_completed:
        return RULE.unknown("the migration did not complete")
    early = 0
    for spec in judged:
        of_device = reads[spec.id]
        wrong = _compared(evidence, spec.id, of_device)
        if wrong is not None:
            return wrong
        stopped = _stopped(evidence, spec.id)
        if stopped is None:
            return RULE.unknown(f"{spec.id}: when it stopped was not seen")
        early += sum(read.args.got for read in of_device if read.t_ns < stopped.t_ns)
    if not early:
        return RULE.unknown("nothing was read in pre-copy")
    return RULE.valid(
        "all that the devices gave before and after their stop arrived once, in order",
        precopy_bytes=early,
        enomsg=len(empty),
        changes=len(evidence.of(PrecopyChanged, Side.SOURCE)),
    )


def _is_judged(spec: EmulatedDevice) -> bool:
    is_given = spec.precopy_size or spec.precopy_changes
    return bool(spec.pre_copy and is_given and not spec.misreports)


def _reads(evidence: Evidence, device: str) -> list[Record[Read]]:
    """Those of its latest data_fd."""
    opened = evidence.of(DataFd, Side.SOURCE, device)
    since = opened[-1].t_ns if opened else 0
    return [read for read in evidence.of(Read, Side.SOURCE, device) if read.t_ns >= since]


def _stopped(evidence: Evidence, device: str) -> Record[Arc] | None:
    arcs = evidence.of(Arc, Side.SOURCE, device)
    return next((arc for arc in arcs if "STOP_COPY" in arc.args.path), None)


def _compared(evidence: Evidence, device: str, reads: list[Record[Read]]) -> Finding | None:
    """What was lost or sent twice, or is not known of it; None if all is as it must be."""
    sent = evidence.of(Sent, Side.SOURCE, device)
    received = evidence.of(Received, Side.DESTINATION, device)
    if not sent or not received or received[-1].args.expected_bytes < 0:
        return RULE.unknown(f"{device}: what it gave and what arrived was not compared")
    if not reads:
        return RULE.unknown(f"{device}: no read of its state was seen")
    given, arrived = sent[-1].args.bytes, received[-1].args
    taken = sum(read.args.got for read in reads)
    if taken < given:
        return RULE.violated(
            f"{device} had {given} bytes of state, and {taken} of them were read",
            reads[-1],
            sent[-1],
            shape="left-unread",
        )
    if arrived.bytes == given and arrived.first_difference < 0:
        return None
    shape = "lost" if arrived.bytes < given else "sent-twice"
    return RULE.violated(
        f"{device} gave {given} bytes, and {arrived.bytes} arrived; they differ from byte "
        f"{arrived.first_difference} on",
        sent[-1],
        received[-1],
        shape="bytes-differ" if arrived.bytes == given else shape,
    )
