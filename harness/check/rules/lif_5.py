"""LIF-5: A device that fails a read or a write fails the migration on both sides.

It applies when the scenario's device fails at a byte that is reached.  The side with the device
names it in its error: by its id, by its name in the trace, or by the name of its section in the
stream.  The source's guest runs, with its devices RUNNING.  Without a return path the source does
not learn that the destination's device failed, and may complete.

Only an error that was reported after the device had failed counts: QEMU names its devices in
warnings at start-up, too.  ENOMSG is no failure: it ends a device's pre-copy (``vfio.h``).
ENODEV is none either: a reset or a change of state has ended the data_fd.
If a fault had changed something before, the error may be about that.
"""

import errno
import re
from collections.abc import Sequence

from harness.check import hang, interruption, words
from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history import wire
from harness.history.device import Read, Write
from harness.history.records import Kind, Record, Side
from harness.model.expectation import Ending, Expectation
from harness.scenario import Scenario

RULE = Rule(
    id="LIF-5",
    title="A device that fails a read or a write fails the migration, and the error names it",
    trusts=(Assumption.ENDINGS_KNOWN,),
)
Call = Record[Read] | Record[Write]
_NO_FAILURE = (0, errno.ENOMSG, errno.ENODEV)
_END_OF_STREAM = re.compile(r"end-of-file|Connection reset")
"""Of io/channel.c and errno: the error of a destination whose source has closed the stream."""
_FIRST_SLOT = 2
"""PCI slot of the scenario's first device; the others follow it (devices.emulated)."""


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    if expectation.ending is not Ending.DEVICE_ERROR:
        return "no device fails"
    if any(spec.dma.fails for spec in scenario.emulated):
        return "a device may fail a call about its log (DMA-2)"
    if any(spec.refuses for spec in scenario.emulated):
        return "a device fails an arc (ARC-1)"
    return ""


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    failed = _failure(evidence)
    if failed is None:
        return RULE.unknown("no device was seen to fail a read or a write")
    side, device = failed.side, failed.device
    what = f"{device} failed a {failed.name} at byte {failed.args.offset}"
    endings = evidence.endings
    for peer in (Side.SOURCE, Side.DESTINATION):
        end = endings.crash(peer)
        if end is not None and (end.args.signal or peer is Side.SOURCE):
            return RULE.violated(
                f"{what}, and the {peer}'s QEMU ended", failed, end, shape=f"{peer}-died"
            )
        hung = interruption.stuck(evidence, peer)
        if hung:
            return _stuck(evidence, what, failed, hung, f"{peer}-did-not-end")
    is_blind = _is_blind(evidence, side)
    for peer in (Side.DESTINATION, Side.SOURCE):
        status = endings.status(peer)
        if status == "completed" and not (is_blind and peer is Side.SOURCE):
            return RULE.violated(
                f"{what}, but the {peer} reports the migration completed",
                failed,
                endings.last_status(peer),
                shape=f"{peer}-completed-after-device-error",
            )
        has_exited = peer is Side.DESTINATION and endings.crash(peer) is not None
        if status not in ("failed", "completed") and not has_exited:
            return RULE.unknown(f"{what}; the {peer}'s status is {status or 'not known'}")
    said = endings.errors_since(side, failed.t_ns)
    names = _names(evidence, side)
    naming = [text for _, text in said.certain if words.is_named(text, names)]
    if not naming:
        return _unnamed(evidence, what, failed, said)
    if endings.status(Side.SOURCE) == "completed":
        sentence = f"{what}: the destination failed; no return path reports it to the source"
        return RULE.valid(sentence, said=naming[-1])
    silent = interruption.silent(evidence, Side.SOURCE)
    if silent:
        return RULE.violated(
            f"{what}, and the source does not answer",
            failed,
            *silent,
            shape="source-silent-after-device-error",
        )
    gone = interruption.lost(evidence)
    if gone is not None:
        return RULE.violated(f"{what}, and {gone[0]}", failed, *gone[1], shape="source-lost")
    if interruption.running(evidence, Side.SOURCE) is None:
        return RULE.unknown(f"{what}; whether the source runs on was not checked")
    return RULE.valid(f"{what}: both sides failed, and the source runs on", said=naming[-1])


def _stuck(
    evidence: Evidence, what: str, failed: Record, hung: list[Record], shape: str
) -> Finding:
    cause = hang.cause(evidence, hung[0])
    why = f": {cause.words}" if cause else ""
    return RULE.violated(
        f"{what}, and the {hung[-1].side} did not end{why}",
        failed,
        *hung,
        *(cause.records if cause else ()),
        shape=cause.shape if cause else shape,
    )


def _failure(evidence: Evidence) -> Call | None:
    """The first call that a device failed."""
    calls = [*_failures(evidence, Side.SOURCE), *_failures(evidence, Side.DESTINATION)]
    return min(calls, key=lambda record: record.t_ns, default=None)


def _failures(evidence: Evidence, side: Side) -> list[Call]:
    calls: Sequence[Call] = (
        evidence.of(Read, side) if side is Side.SOURCE else evidence.of(Write, side)
    )
    return [record for record in calls if record.args.errno not in _NO_FAILURE]


def _is_blind(evidence: Evidence, side: Side) -> bool:
    """Whether the source cannot learn of a failure of ``side``."""
    return side is Side.DESTINATION and not evidence.scenario.return_path


def _unnamed(evidence: Evidence, what: str, failed: Record, said: words.Errors) -> Finding:
    """No error that was reported after the failure names the device."""
    side, names = failed.side, _names(evidence, failed.side)
    if not said.certain:
        return RULE.unknown(f"{what}, and the {side} reported no reason for its failure")
    if any(words.is_named(text, names) for _, text in said.possible):
        return RULE.unknown(f"{what}; when the {side} named it is not known")
    if not _traced_names(evidence, side, failed.device):
        return RULE.unknown(f"{what}; the name that the {side} has for it was not seen")
    if any(record.t_ns < failed.t_ns for record in evidence.of(wire.Fault)):
        return RULE.unknown(f"{what}; the {side}'s error may be about the fault before it")
    record, text = said.certain[-1]
    if _is_blind(evidence, side) and _END_OF_STREAM.search(text):
        # The source ends without the destination's acknowledgement, and the stream with it.
        return RULE.unknown(f'{what}; "{text}" may be about the end of the stream')
    return RULE.violated(
        f'{what}, and the {side}\'s error does not name it: "{text}"',
        failed,
        record,
        shape="unnamed",
    )


def _names(evidence: Evidence, side: Side) -> set[str]:
    """Names of the devices that failed: QEMU may report any of several."""
    ids = [spec.id for spec in evidence.devices]
    names: set[str] = set()
    for device in {record.device for record in _failures(evidence, side)}:
        section = f"0000:00:{_FIRST_SLOT + ids.index(device):02x}.0/vfio"
        names |= {device, section} | _traced_names(evidence, side, device)
    return names


def _traced_names(evidence: Evidence, side: Side, device: str) -> set[str]:
    records = evidence.events(Kind.TRACE, side, device)
    return {str(record.args["name"]) for record in records if "name" in record.args}
