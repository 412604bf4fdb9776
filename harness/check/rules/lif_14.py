"""LIF-14: A connection of the source that is refused fails the migration within seconds.

It applies when the relay refuses the source's connection for the main channel or for a multifd
channel: it does not listen, or accepts the connection and closes or resets it at once
(``refuse_connection``).  The source fails, gives a reason and runs its guest.  The destination
fails or exits; it may wait for another source if no byte of this one has come to it.

This could be wrong in both ways.  A destination that has seen connections without a byte may fail
or wait: both are right.  One that was sent the hello of a channel must end: it accepts no second
source for that channel.  A side that had not ended is judged only if it was seen to be stuck, and
the relay kept nothing back; else the outcome is UNKNOWN.  So it is if no connection was refused, or
if nobody checked whether the source runs on.
"""

from harness.check import hang, interruption, planned
from harness.check.assumptions import Assumption
from harness.check.evidence import PEERS, Evidence
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history import wire
from harness.history.records import Record, Side
from harness.model.expectation import Ending, Expectation
from harness.scenario import Scenario
from harness.scenario.fault_plan import RefuseConnection

RULE = Rule(
    id="LIF-14",
    title="A refused connection of the source fails the migration within seconds",
    trusts=(Assumption.ENDINGS_KNOWN,),
)


@RULE.skips
def skip_reason(_scenario: Scenario, expectation: Expectation) -> str:
    if expectation.ending in (Ending.CONNECTION_REFUSED, Ending.STOPPED):
        return ""
    return "no connection is refused"


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    if evidence.expectation.ending is Ending.STOPPED:
        return "an action ended the migration (LIF-3, LIF-4)"
    return ""


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    refused = _refused(evidence)
    if refused is None:
        return RULE.unknown("no connection was refused")
    fault = evidence.scenario.faults[refused.args.position]
    assert isinstance(fault, RefuseConnection)
    which = "multifd" if fault.accepted else "main"
    what = f"connection {fault.accepted + 1} of the source was refused ({fault.how})"
    endings = evidence.endings
    for side in PEERS:
        end = endings.crash(side)
        if end is not None and (end.args.signal or side is Side.SOURCE):
            return RULE.violated(
                f"{what}, and the {side}'s QEMU ended",
                refused,
                end,
                shape=f"{side}-died-{which}-refused",
            )
        if endings.status(side) == "completed":
            return RULE.violated(
                f"{what}, but the {side} reports the migration completed",
                refused,
                endings.last_status(side),
                shape=f"{side}-completed-{which}-refused",
            )
    if (finding := _not_ended(evidence, refused, what, which)) is not None:
        return finding
    said = [text for _, text in endings.texts(Side.SOURCE) if text]
    if not said:
        return RULE.violated(
            f"{what}: the source failed without a reason",
            refused,
            endings.last_status(Side.SOURCE),
            shape=f"no-reason-{which}-refused",
        )
    if silent := interruption.silent(evidence, Side.SOURCE):
        return RULE.violated(
            f"{what}, and the source does not answer",
            refused,
            *silent,
            shape=f"source-silent-{which}-refused",
        )
    gone = interruption.lost(evidence)
    if gone is not None:
        return RULE.violated(
            f"{what}, and {gone[0]}", refused, *gone[1], shape=f"source-lost-{which}-refused"
        )
    if interruption.running(evidence, Side.SOURCE) is None:
        return RULE.unknown(f"{what}; whether the source runs on was not checked")
    return RULE.valid(
        f"{what}: the migration failed, and the source runs on",
        said=said[-1],
        destination=endings.status(Side.DESTINATION) or "exited",
    )


def _not_ended(evidence: Evidence, refused: Record, what: str, which: str) -> Finding | None:
    """What is wrong or not known of a side that has not ended; None if both have as they must."""
    for side in PEERS:
        if _has_ended(evidence, side):
            continue
        hung = interruption.stuck(evidence, side)
        status = evidence.endings.status(side)
        is_waiting = status in ("", "none", "setup") and _may_listen(evidence)
        if side is Side.DESTINATION and is_waiting and interruption.is_answering(hung):
            continue
        if not hung:
            return RULE.unknown(f"{what}; the {side}'s status is {status or 'not known'}")
        if kept := planned.kept_back(evidence):
            return RULE.unknown(
                f"{what}; the {side} did not end, but the relay kept something back: "
                + "; ".join(kept)
            )
        if busy := planned.excuse(evidence):
            return RULE.unknown(f"{what}; the {side} did not end, but {busy}")
        cause = hang.cause(evidence, hung[0])
        if cause is not None and hang.side_of(cause) is not side:
            cause = None  # of the other one, which has ended
        return RULE.violated(
            f"{what}, and the {side} did not end: its status is {status}"
            + (f"; {cause.words}" if cause else ""),
            refused,
            *hung,
            *(cause.records if cause else ()),
            shape=cause.shape if cause else f"{side}-did-not-end-{which}-refused",
        )
    return None


def _has_ended(evidence: Evidence, side: Side) -> bool:
    has_exited = side is Side.DESTINATION and evidence.endings.crash(side) is not None
    return has_exited or evidence.endings.status(side) in ("failed", "cancelled")


def _may_listen(evidence: Evidence) -> bool:
    """Whether the destination was sent no byte.

    A connection that is still open at the deadline has no record of its end.
    """
    unsent = {
        record.args.connection
        for record in evidence.of(wire.ChannelClosed)
        if not record.args.to_destination
    } | {record.args.connection for record in evidence.of(wire.ChannelRefused)}
    return not any(
        record.args.kind != "raw" and record.args.connection not in unsent
        for record in evidence.of(wire.ChannelOpened)
    )


def _refused(evidence: Evidence) -> Record[wire.Fault] | None:
    return next(
        (
            record
            for record in evidence.of(wire.Fault)
            if isinstance(evidence.scenario.faults[record.args.position], RefuseConnection)
        ),
        None,
    )
