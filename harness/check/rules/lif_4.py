"""LIF-4: After a cancel the source has its guest back, and may migrate it again.

``migrate_cancel`` ends a migration that is under way with the status ``cancelled``: the
source's guest runs, its devices are RUNNING, and that guest runs nowhere else.  A guest that the
scenario has paused stays paused.  A cancel has no effect if both sides have completed, or if the
migration has failed; the verdict says so.  The migration after it (``Scenario.then``), if there
is one, must complete with all of the state.

The destination ends too, or is still listening if no source had connected, or waits for what the
relay holds back.  A slow device may keep it busy for longer than the harness waits: if it did not
end, this is UNKNOWN.
"""

from harness.check import hang, interruption, planned
from harness.check.assumptions import Assumption
from harness.check.evidence import OVER, SAVE_THREAD_END, Evidence
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history.records import Record, Side
from harness.model.expectation import Ending

RULE = Rule(
    id="LIF-4",
    title="After a cancel the source has its guest back",
    trusts=(Assumption.ENDINGS_KNOWN,),
)


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    if interruption.is_asked(evidence, interruption.is_cancel) or _must_follow(evidence):
        return ""
    return "the migration was not cancelled"


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    if _must_follow(evidence):
        return _again(evidence)
    sent = [record for action, record in planned.done(evidence) if interruption.is_cancel(action)]
    if not sent:
        return RULE.unknown("no cancel was done, though it was planned")
    cancel = sent[0]
    endings = evidence.endings
    crash = endings.crash(Side.SOURCE)
    if crash is not None:
        return RULE.violated(
            "the source was cancelled, and its QEMU ended", cancel, crash, shape="source-died"
        )
    hung = interruption.stuck(evidence, Side.SOURCE)
    if hung and evidence.endings.status(Side.SOURCE) not in OVER:
        shape = hang.cause(evidence, hung[0])
        why = f"; {shape[0]}" if shape else ""
        return RULE.violated(
            f"the source was cancelled and did not end: {_hold(evidence)}{why}",
            cancel,
            *hung,
            *(shape[1] if shape else ()),
            shape=shape.shape if shape else _blocked(evidence),
        )
    return _ended(evidence, cancel)


def _must_follow(evidence: Evidence) -> bool:
    """Whether it follows a cancelled migration, and must complete."""
    return (
        interruption.continued_after(evidence) == "cancelled"
        and evidence.expectation.ending is Ending.COMPLETED
    )


def _ended(evidence: Evidence, cancel: Record) -> Finding:
    endings = evidence.endings
    status, end = endings.status(Side.SOURCE), endings.last_status(Side.SOURCE)
    at = interruption.status_at(evidence, Side.SOURCE, cancel.t_ns)
    is_over_there = endings.status(Side.DESTINATION) == "completed"
    if status == "completed" and is_over_there:
        return RULE.valid("the cancel came too late: both sides completed", at=at, too_late=True)
    has_failed = at in ("failing", "failed")
    if status == "failed" and not has_failed:
        return RULE.violated(
            "the source was cancelled, and reports that the migration failed",
            cancel,
            end,
            shape="failed-instead-of-cancelled",
        )
    if status != "cancelled" and not has_failed:
        return RULE.unknown(
            f"the source was cancelled, and its status is {status or 'not known'}", at=at
        )
    silent = interruption.silent(evidence, Side.SOURCE)
    if silent:
        return RULE.violated(
            f"the source's status is {status}, and it does not answer",
            cancel,
            *silent,
            shape="source-silent-after-cancel",
        )
    answer = interruption.running(evidence, Side.SOURCE)
    if answer is None:
        return RULE.unknown("whether the source runs on was not checked", at=at)
    if is_over_there and interruption.is_paused(evidence):
        return RULE.unknown(
            f"the source's status is {status}, and the destination has the paused guest"
        )
    if is_over_there:
        return RULE.violated(
            f"the source's status is {status} and it runs on, but the destination completed: the "
            "guest runs twice",
            cancel,
            end,
            endings.last_status(Side.DESTINATION),
            answer,
            shape=_twice(evidence, cancel),
        )
    gone = interruption.lost(evidence)
    if gone is not None:
        return RULE.violated(
            f"the source was cancelled, but {gone[0]}", cancel, end, *gone[1], shape="source-lost"
        )
    there, is_known = _there(evidence)
    if not is_known:
        return RULE.unknown(f"the source {status}, but {there}", at=at)
    stays = (
        "has its guest, paused" if interruption.is_seen_paused(evidence, Side.SOURCE) else "runs on"
    )
    return RULE.valid(f"the source {status} and {stays}{there}", at=at, too_late=has_failed)


def _there(evidence: Evidence) -> tuple[str, bool]:
    """How the destination ended, in words, and whether that is correct."""
    hung = interruption.stuck(evidence, Side.DESTINATION)
    if not hung or evidence.endings.crash(Side.DESTINATION) is not None:
        return "", True
    is_answering = interruption.is_answering(hung)
    if evidence.endings.status(Side.DESTINATION) in ("", "setup") and is_answering:
        return "; no source had connected to the destination, which is still listening", True
    if kept := planned.kept_back(evidence):
        return f"; the destination waits for what the relay holds back: {'; '.join(kept)}", True
    shape = hang.cause(evidence, hung[0])
    why = shape.words if shape else "the reason is not known"
    return f"the destination did not end: {why}", False


def _hold(evidence: Evidence) -> str:
    status = evidence.endings.status(Side.SOURCE)
    alive = _is_alive(evidence)
    blocked = "" if alive else ", and its main loop is blocked"
    return f"its status is {status or 'not known'}{blocked}"


def _blocked(evidence: Evidence) -> str:
    """The shape of a source that stays in a status."""
    what = "did-not-end-in" if _is_alive(evidence) else "main-loop-blocked-in"
    return f"{what}-{evidence.endings.status(Side.SOURCE) or 'none'}"


def _is_alive(evidence: Evidence) -> bool:
    """Whether the source's main loop answered."""
    hung = [record for record in evidence.endings.hung if record.side is Side.SOURCE]
    return interruption.is_answering(hung)


def _twice(evidence: Evidence, cancel: Record) -> str:
    """The shape of a guest that runs on both sides: cancelled once all was sent, or before."""
    is_sent = all(
        any(end.t_ns < cancel.t_ns for end in evidence.trace(Side.SOURCE, SAVE_THREAD_END, device))
        for device in evidence.multifd_devices
    )
    return "guest-runs-twice" if is_sent else "guest-runs-twice-cancelled-while-sending"


def _again(evidence: Evidence) -> Finding:
    endings = evidence.endings
    ends = {side: endings.status(side) for side in (Side.SOURCE, Side.DESTINATION)}
    if not endings.is_completed:
        if excuse := planned.excuse(evidence):
            return RULE.unknown(f"the migration after a cancelled one did not end: {excuse}")
        return RULE.violated(
            "the migration after a cancelled one did not complete: the source's status is "
            f"{ends[Side.SOURCE] or 'not known'}, the destination's "
            f"{ends[Side.DESTINATION] or 'not known'}",
            *(endings.last_status(side) for side in ends),
            endings.deadline,
            shape="next-migration-did-not-complete",
        )
    wrong = interruption.damaged(evidence)
    if wrong is None:
        return RULE.valid("the migration after a cancelled one completed with all of the state")
    if not wrong[1]:
        return RULE.unknown(wrong[0])
    return RULE.violated(
        f"the migration after a cancelled one: {wrong[0]}", *wrong[1], shape="bytes-differ"
    )
