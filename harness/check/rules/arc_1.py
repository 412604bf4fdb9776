"""ARC-1: A refused arc fails the migration, and the error names the device.

An arc is a change of a device's migration state.  If the device fails it, QEMU sets the device's
recovery state, and resets it if that fails or there is none (vfio_migration_set_state() in
hw/vfio/migration.c; vfio.h of Linux: only a reset leads out of ERROR).  The migration fails on
both sides, the side with the device names it in its error, and the source's guest runs on.

It applies if a device refuses an arc that each migration takes: into PRE_COPY or STOP_COPY at the
source, into RESUMING at the destination.

How it could be wrong.  VIOLATED of a right QEMU: the error may have been reported earlier, or be
about a fault; so an error without the name counts only if it is known to be later, and no fault was
before.  A reset may come after an answer of another thread; so a device is left alone only if it is
neither set to a state nor reset up to the end of the run, and its QEMU is a source that answered.
VALID for nothing seen: the device must have recorded that it refused the arc.
"""

import os

from harness.check import interruption, words
from harness.check.assumptions import Assumption
from harness.check.evidence import PEERS, Evidence
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history import wire
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
_FIRST_SLOT = 2
"""PCI slot of the scenario's first device; the others follow it (devices.emulated)."""


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
    for peer in PEERS:
        end = endings.crash(peer)
        if end is not None and (end.args.signal or peer is Side.SOURCE):
            return RULE.violated(f"{what}, and the {peer}'s QEMU ended", failed, end, shape="died")
        hung = interruption.stuck(evidence, peer)
        if hung:
            sentence = f"{what}, and the {peer} did not end"
            return RULE.violated(sentence, failed, *hung, shape=f"{peer}-did-not-end")
    for peer in PEERS:
        status = endings.status(peer)
        if status == "completed" and not _is_blind(evidence, side, peer):
            return RULE.violated(
                f"{what}, but the {peer} reports the migration completed",
                failed,
                endings.last_status(peer),
                shape=f"{peer}-completed",
            )
        has_exited = peer is Side.DESTINATION and endings.crash(peer) is not None
        if status not in ("failed", "completed") and not has_exited:
            return RULE.unknown(f"{what}; the {peer}'s status is {status or 'not known'}")
    after = _set_after(evidence, failed)
    if after is None:
        answers = endings.commands(side, "query-migrate", "return")
        later = [record for record in answers if record.t_ns > failed.t_ns]
        if side is Side.SOURCE and later:
            sentence = f"{what}, and was neither set to a state nor reset"
            return RULE.violated(sentence, failed, later[-1], shape="left-alone")
        return RULE.unknown(f"{what}; no state and no reset of it was seen since")
    return _said(evidence, what, failed) or _source(evidence, what, after)


def _fails_otherwise(spec: EmulatedDevice) -> bool:
    return spec.dma.fails or spec.save.error_at is not None or spec.load.error_at is not None


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


def _is_blind(evidence: Evidence, side: Side, peer: Side) -> bool:
    """Whether ``peer`` is a source that cannot learn of a failure of ``side``."""
    is_told = evidence.scenario.return_path
    return side is Side.DESTINATION and peer is Side.SOURCE and not is_told


def _set_after(evidence: Evidence, failed: Record[Arc]) -> Record | None:
    """The first state that the device took since, or its reset."""
    for record in evidence.sequence(Kind.DEVICE, failed.side, failed.device):
        if record.t_ns <= failed.t_ns:
            continue
        match record.args:
            case Arc(errno=0) | Reset():
                return record
    return None


def _said(evidence: Evidence, what: str, failed: Record[Arc]) -> Finding | None:
    """A violation, or what is not known, if the error does not name the device."""
    side = failed.side
    names = _names(evidence, side)
    said = evidence.endings.errors_since(side, failed.t_ns)
    if any(words.is_named(text, names) for _, text in said.certain):
        return None
    if not said.certain:
        return RULE.unknown(f"{what}, and the {side} reported no reason for its failure")
    if any(words.is_named(text, names) for _, text in said.possible):
        return RULE.unknown(f"{what}; when the {side} named it is not known")
    if not _traced_names(evidence, side, failed.device):
        return RULE.unknown(f"{what}; the name that the {side} has for it was not seen")
    if any(record.t_ns < failed.t_ns for record in evidence.of(wire.Fault)):
        return RULE.unknown(f"{what}; the {side}'s error may be about the fault before it")
    record, text = said.certain[-1]
    return RULE.violated(
        f'{what}, and the {side}\'s error does not name it: "{text}"',
        failed,
        record,
        shape="unnamed",
    )


def _source(evidence: Evidence, what: str, after: Record) -> Finding:
    """Whether the source's guest runs on."""
    how = "was reset" if isinstance(after.args, Reset) else "was set to its recovery state"
    if evidence.endings.status(Side.SOURCE) == "completed":
        return RULE.valid(f"{what} and {how}; no return path reports it to the source")
    silent = interruption.silent(evidence, Side.SOURCE)
    if silent:
        sentence = f"{what}, and the source does not answer"
        return RULE.violated(sentence, after, *silent, shape="source-silent")
    gone = interruption.lost(evidence)
    if gone is not None:
        return RULE.violated(f"{what}, and {gone[0]}", after, *gone[1], shape="source-lost")
    if interruption.running(evidence, Side.SOURCE) is None:
        return RULE.unknown(f"{what}; whether the source runs on was not checked")
    return RULE.valid(f"{what} and {how}: both sides failed, and the source runs on")


def _names(evidence: Evidence, side: Side) -> set[str]:
    """Names of the devices that refused an arc: QEMU may report any of several."""
    ids = [spec.id for spec in evidence.devices]
    names: set[str] = set()
    for device in {record.device for record in evidence.of(Arc, side) if record.args.errno}:
        section = f"0000:00:{_FIRST_SLOT + ids.index(device):02x}.0/vfio"
        names |= {device, section} | _traced_names(evidence, side, device)
    return names


def _traced_names(evidence: Evidence, side: Side, device: str) -> set[str]:
    records = evidence.events(Kind.TRACE, side, device)
    return {str(record.args["name"]) for record in records if "name" in record.args}
