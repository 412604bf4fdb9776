"""LIF-3: When one QEMU is killed, the other one ends its migration, or runs on.

A source that survives fails the migration and runs its guest, with its devices RUNNING; or it
had already completed (with a return path only after the destination's acknowledgement).  A
destination that survives fails, or runs the guest if it had received all of it, or is still
listening if no source had connected.  A guest that the scenario has paused stays paused on either
side.

A QEMU that quits because the scenario wants it affects the other one as a kill does.  If the relay
holds something back from the destination, the end of a channel included, the destination waits
for it, and is not blamed for that.  Nor is a source that waits in pre-switchover for
``migrate-continue``.
"""

from harness.check import hang, interruption, planned
from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history.records import Record, Side
from harness.scenario.action_plan import Execute, Kill, Target, is_quit

RULE = Rule(
    id="LIF-3",
    title="When one QEMU is killed, the other ends its migration or runs on",
    trusts=(Assumption.ENDINGS_KNOWN,),
)


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    is_asked = interruption.is_asked(evidence, interruption.ends_a_side)
    return "" if is_asked else "no QEMU was killed"


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    killed: dict[Target, tuple[str, Record]] = {}
    for action, record in planned.done(evidence):
        if isinstance(action, Kill):
            killed[action.target] = "was killed", record
        elif isinstance(action, Execute) and is_quit(action):
            killed.setdefault(action.target, ("quit as planned", record))
    if not killed:
        return RULE.unknown("no QEMU was killed, though it was planned")
    if len(killed) > 1:
        return RULE.unknown("both QEMUs were killed: none is left to judge")
    ((target, (how, kill)),) = killed.items()
    survivor = Side.DESTINATION if target is Target.SOURCE else Side.SOURCE
    end = evidence.endings.crash(survivor)
    if end is not None and (end.args.signal or survivor is Side.SOURCE):
        signal = end.args.signal
        died = f"of signal {signal}" if signal else f"with status {end.args.status}"
        said = [record for record, _ in evidence.endings.texts(survivor)][-1:]
        return RULE.violated(
            f"the {target} {how}, and the {survivor}'s QEMU died {died}",
            kill,
            *said,
            end,
            shape=f"{survivor}-died-after-kill",
        )
    if survivor is Side.SOURCE:
        return _source(evidence, f"the destination {how}", kill)
    return _destination(evidence, f"the source {how}", kill, end)


def _source(evidence: Evidence, what: str, kill: Record) -> Finding:
    endings = evidence.endings
    at = interruption.status_at(evidence, Side.SOURCE, kill.t_ns)
    status, end = endings.status(Side.SOURCE), endings.last_status(Side.SOURCE)
    if status == "completed":
        arrived = endings.status(Side.DESTINATION) == "completed"
        if evidence.scenario.return_path and not arrived:
            return RULE.violated(
                f"{what} before it had the guest, but the source completed",
                kill,
                end,
                shape="source-completed-after-kill",
            )
        return RULE.valid("the source had completed", at=at)
    if status not in ("failed", "cancelled"):
        hung = interruption.stuck(evidence, Side.SOURCE)
        if not hung:
            return RULE.unknown(
                f"the source did not end; its status is {status or 'not known'}", at=at
            )
        is_answering = interruption.is_answering(hung)
        if status == "pre-switchover" and is_answering and not _was_continued(evidence):
            return RULE.unknown(
                f"{what}; the source waits in pre-switchover for migrate-continue, which was "
                "not sent, and notices it then",
                at=at,
            )
        return RULE.violated(
            f"{what}, and the source did not end: its status is {status}",
            kill,
            *hung,
            shape="source-did-not-end",
        )
    silent = interruption.silent(evidence, Side.SOURCE)
    if silent:
        return RULE.violated(
            f"{what}; the source's status is {status}, and it does not answer",
            kill,
            *silent,
            shape="source-silent",
        )
    gone = interruption.lost(evidence)
    if gone is not None:
        return RULE.violated(f"{what}, and {gone[0]}", kill, end, *gone[1], shape="source-lost")
    if interruption.running(evidence, Side.SOURCE) is None:
        return RULE.unknown("whether the source runs on was not checked", at=at)
    stays = (
        "has its guest, paused" if interruption.is_seen_paused(evidence, Side.SOURCE) else "runs on"
    )
    return RULE.valid(f"the source {status} the migration and {stays}", at=at)


def _was_continued(evidence: Evidence) -> bool:
    """Whether a source that pauses before the switchover was let go on.

    Until then its migration thread waits for nothing else (migration_maybe_pause()).
    """
    return any(
        isinstance(action, Execute) and action.effect == "migrate-continue"
        for action, _ in planned.done(evidence)
    )


def _destination(evidence: Evidence, what: str, kill: Record, exited: Record | None) -> Finding:
    endings = evidence.endings
    at = interruption.status_at(evidence, Side.SOURCE, kill.t_ns)
    status, end = endings.status(Side.DESTINATION), endings.last_status(Side.DESTINATION)
    hung = interruption.stuck(evidence, Side.DESTINATION)
    if status == "completed":
        wrong = interruption.damaged(evidence)
        if wrong is None:
            is_seen_paused = interruption.is_seen_paused(evidence, Side.DESTINATION)
            runs = "has it, paused" if is_seen_paused else "runs it"
            return RULE.valid(f"the destination had received all of the guest, and {runs}", at=at)
        if not wrong[1]:
            return RULE.unknown(wrong[0], at=at)
        return RULE.violated(
            f"{what}, and the destination completed, but {wrong[0]}",
            kill,
            end,
            *wrong[1],
            shape="bytes-differ",
        )
    is_answering = interruption.is_answering(hung)
    if status in ("", "setup") and hung and is_answering:
        return RULE.valid(
            "no source had connected to the destination: it is still listening", at=at
        )
    if hung and (kept := planned.kept_back(evidence)):
        return RULE.unknown(
            "the destination did not end; the relay still held something back: " + "; ".join(kept),
            at=at,
        )
    if hung:
        still = "" if is_answering else ", and its main loop is blocked"
        cause = hang.cause(evidence, hung[0])
        is_known = cause is not None and hang.side_of(cause) is Side.DESTINATION
        shape = "destination-did-not-end" if is_answering else "main-loop-blocked-after-kill"
        return RULE.violated(
            f"{what}, and the destination did not end: its status is {status}{still}"
            + (f"; {cause.words}" if cause and is_known else ""),
            kill,
            *hung,
            *(cause.records if cause and is_known else ()),
            shape=f"{cause.shape}-after-kill" if cause and is_known else shape,
        )
    if exited is not None:
        return RULE.valid("the destination failed and exited", at=at)
    if status != "failed":
        return RULE.unknown(
            f"the destination did not end; its status is {status or 'not known'}", at=at
        )
    silent = interruption.silent(evidence, Side.DESTINATION)
    if silent:
        return RULE.violated(
            f"{what}; the destination failed, and does not answer",
            kill,
            *silent,
            shape="destination-silent",
        )
    if interruption.running(evidence, Side.DESTINATION) is None:
        return RULE.unknown("whether the failed destination answers was not checked", at=at)
    return RULE.valid("the destination failed, and answers", at=at)
