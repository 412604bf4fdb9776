"""PRE-5: pre-copy that does not converge is reported as such, and the source stays healthy.

It is no hang: the source goes on with its passes, and more is pending than it may leave for
the switchover.  Its monitor answers, its guest runs, and the migration can be cancelled; the
harness does that when the time is over, and of what follows only the cancel's own end counts.

A source that has less pending than allowed, pass after pass, must switch over.  Where
switchover-ack is on it waits for the destination's word first: that is PRE-1's.
"""

from harness.check import convergence, interruption
from harness.check.assumptions import Assumption
from harness.check.endings import OVER
from harness.check.rule import Rule
from harness.check.run import CheckedRun
from harness.check.verdict import Finding
from harness.history.records import Record, Side

RULE = Rule(
    id="PRE-5",
    title="Pre-copy that does not converge leaves the source healthy, and can be cancelled",
    trusts=(Assumption.ENDINGS_KNOWN,),
)
_ACK = "switchover-ack"


@RULE.skips_run
def skip_reason_of(run: CheckedRun) -> str:
    if convergence.not_converged(run) is not None:
        return ""
    return "no migration was still in pre-copy when its time was over"


@RULE.judges
def judge(run: CheckedRun) -> Finding:
    over = convergence.not_converged(run)
    if over is None:
        return RULE.unknown("nothing tells that the source was in pre-copy")
    within = "pre-copy did not converge"
    if "deadline_s" in over.args:
        within += f" within {over.args['deadline_s']:g} s"
    crash = run.endings.crash(Side.SOURCE)
    if crash is not None:
        return RULE.violated(
            f"{within}, and the source's QEMU ended", over, crash, shape="source-ended"
        )
    wrong = _not_cancelled(run) or _unhealthy(run)
    if wrong is not None:
        return RULE.violated(f"{within}, and {wrong[0]}", over, *wrong[1], shape="unhealthy")
    standing = convergence.standing(run, over)
    if standing is None:
        return RULE.unknown(f"{within}; nothing tells how much was pending, and how much allowed")
    numbers = {"pending": standing.pending, "allowed": standing.allowed}
    sentence = f"{within}: {standing.words}"
    if standing.should_have_switched:
        if run.scenario.capabilities.get(_ACK):
            return RULE.unknown(f"{sentence}; the switchover waits for its {_ACK}", **numbers)
        return RULE.violated(
            f"{sentence}, and the source did not switch over",
            *standing.evidence,
            shape="no-switchover",
            **numbers,
        )
    if standing.pending <= standing.allowed:
        return RULE.unknown(f"{sentence}; that was so for less than a second", **numbers)
    # Which of the two it reports after a cancel is LIF-4's; here it must have ended by it.
    told, end = run.endings.status(Side.SOURCE), run.endings.last_status(Side.SOURCE)
    cancels = run.endings.commands(Side.SOURCE, interruption.CANCEL)
    was_cancelled = bool(cancels) and end is not None and end.t_ns >= cancels[0].t_ns
    if told not in ("cancelled", "failed") or not was_cancelled:
        return RULE.unknown(f"{sentence}; whether it can be cancelled was not seen", **numbers)
    if interruption.running(run, Side.SOURCE) is None:
        return RULE.unknown(f"{sentence}; whether the guest runs was not asked", **numbers)
    return RULE.valid(f"{sentence}; the source was healthy, and could be cancelled", **numbers)


def _not_cancelled(run: CheckedRun) -> tuple[str, list[Record]] | None:
    """That the cancel did not end the migration."""
    hung = interruption.stuck(run, Side.SOURCE)
    if not hung or run.endings.status(Side.SOURCE) in OVER:
        return None
    cancels = run.endings.commands(Side.SOURCE, interruption.CANCEL)
    return "it could not be cancelled", [*cancels[-1:], *hung]


def _unhealthy(run: CheckedRun) -> tuple[str, list[Record]] | None:
    """That the source does not answer, or that its guest does not run on with its devices."""
    silent = interruption.silent(run, Side.SOURCE)
    return ("the source does not answer", silent) if silent else interruption.lost(run)
