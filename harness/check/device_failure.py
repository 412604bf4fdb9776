"""What must follow a call that a device failed: shared by the rules about such calls.

The migration fails on both sides.  The side with the device reports an error that names it.  The
source's guest runs on.  Without a return path the source does not learn of a failure of the
destination, and may complete.

Only an error that was reported after the call counts: QEMU names its devices in warnings at
start-up, too.  If a fault had changed something before, the error may be about that.
"""

from harness.check import hang, interruption, names, words
from harness.check.evidence import Evidence
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history import wire
from harness.history.records import Record, Side


def not_failed(rule: Rule, evidence: Evidence, what: str, failed: Record) -> Finding | None:
    """What is wrong with how the two sides ended, or not known of it; None if both failed, and if
    a source that does not learn of it completed.

    :param what: the failed call, in words
    :param failed: its record"""
    endings = evidence.endings
    for peer in (Side.SOURCE, Side.DESTINATION):
        end = endings.crash(peer)
        if end is not None and (end.args.signal or peer is Side.SOURCE):
            sentence = f"{what}, and the {peer}'s QEMU ended"
            return rule.violated(sentence, failed, end, shape=f"{peer}-died")
        hung = interruption.stuck(evidence, peer)
        if hung:
            cause = hang.cause(evidence, hung[0])
            why = f": {cause.words}" if cause else ""
            return rule.violated(
                f"{what}, and the {hung[-1].side} did not end{why}",
                failed,
                *hung,
                *(cause.records if cause else ()),
                shape=cause.shape if cause else f"{peer}-did-not-end",
            )
    for peer in (Side.DESTINATION, Side.SOURCE):
        status = endings.status(peer)
        if status == "completed" and not (peer is Side.SOURCE and _is_blind(evidence, failed)):
            return rule.violated(
                f"{what}, but the {peer} reports the migration completed",
                failed,
                endings.last_status(peer),
                shape=f"{peer}-completed-after-device-error",
            )
        has_exited = peer is Side.DESTINATION and endings.crash(peer) is not None
        if status not in ("failed", "completed") and not has_exited:
            return rule.unknown(f"{what}; the {peer}'s status is {status or 'not known'}")
    return None


def naming(evidence: Evidence, failed: Record, devices: set[str]) -> str:
    """The last error since the failed call that names one of the devices; "" if none does.

    :param devices: all that have failed a call: QEMU may report any of several"""
    said = evidence.endings.errors_since(failed.side, failed.t_ns).certain
    known = _names(evidence, failed, devices)
    return next((text for _, text in reversed(said) if words.is_named(text, known)), "")


def unnamed(
    rule: Rule, evidence: Evidence, what: str, failed: Record, devices: set[str]
) -> Finding:
    """That no error names one of the devices (``naming()`` is empty): a violation if it is known
    that it would be seen."""
    side = failed.side
    said = evidence.endings.errors_since(side, failed.t_ns)
    if not said.certain:
        return rule.unknown(f"{what}, and the {side} reported no reason for its failure")
    known = _names(evidence, failed, devices)
    if any(words.is_named(text, known) for _, text in said.possible):
        return rule.unknown(f"{what}; when the {side} named it is not known")
    if not names.traced(evidence, failed.device, side):
        return rule.unknown(f"{what}; the name that the {side} has for it was not seen")
    if not names.place_of(evidence, side, failed.device):
        return rule.unknown(f"{what}; the name of its section at the {side} is not known")
    if any(record.t_ns < failed.t_ns for record in evidence.of(wire.Fault)):
        return rule.unknown(f"{what}; the {side}'s error may be about the fault before it")
    record, text = said.certain[-1]
    if _is_blind(evidence, failed) and words.is_end_of_stream(text):
        # The source ends without the destination's acknowledgement, and the stream with it.
        return rule.unknown(f'{what}; "{text}" may be about the end of the stream')
    return rule.violated(
        f'{what}, and the {side}\'s error does not name it: "{text}"',
        failed,
        record,
        shape="unnamed",
    )


def runs_on(rule: Rule, evidence: Evidence, what: str, failed: Record, said: str) -> Finding:
    """Whether the source's guest runs on after the failed migration.

    :param said: the error that names the device"""
    if evidence.endings.status(Side.SOURCE) == "completed":
        sentence = f"{what}: the destination failed; no return path reports it to the source"
        return rule.valid(sentence, said=said)
    silent = interruption.silent(evidence, Side.SOURCE)
    if silent:
        return rule.violated(
            f"{what}, and the source does not answer",
            failed,
            *silent,
            shape="source-silent-after-device-error",
        )
    gone = interruption.lost(evidence)
    if gone is not None:
        return rule.violated(f"{what}, and {gone[0]}", failed, *gone[1], shape="source-lost")
    if interruption.running(evidence, Side.SOURCE) is None:
        return rule.unknown(f"{what}; whether the source runs on was not checked")
    return rule.valid(f"{what}: both sides failed, and the source runs on", said=said)


def _is_blind(evidence: Evidence, failed: Record) -> bool:
    """Whether the source cannot learn of the failed call."""
    return failed.side is Side.DESTINATION and not evidence.scenario.return_path


def _names(evidence: Evidence, failed: Record, devices: set[str]) -> set[str]:
    return {name for device in devices for name in names.names(evidence, device, failed.side)}
