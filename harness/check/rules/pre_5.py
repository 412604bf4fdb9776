"""PRE-5: Pre-copy that does not converge is reported as such, and the source stays healthy.

It is not a hang: the source goes on with its passes, and more is pending than it may leave for
the switchover.  Its monitor answers, its guest runs, and the migration can be cancelled.  The
harness cancels it at the deadline; after that, only the end of the cancelled migration is judged.

A source with less pending than allowed, pass after pass, must switch over.  With
switchover-ack it first waits for the destination's acknowledgement (SET-9).
"""

from harness.check import convergence, interruption
from harness.check.assumptions import Assumption
from harness.check.evidence import OVER, Evidence
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history.records import Record, Side

RULE = Rule(
    id="PRE-5",
    title="Pre-copy that does not converge leaves the source healthy, and can be cancelled",
    trusts=(Assumption.ENDINGS_KNOWN,),
)
_ACK = "switchover-ack"


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    if convergence.not_converged(evidence) is not None:
        return ""
    return "no migration was still in pre-copy at its deadline"


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    over = convergence.not_converged(evidence)
    if over is None:
        return RULE.unknown("there is no record that the source was in pre-copy")
    within = "pre-copy did not converge"
    within += f" within {over.args.deadline_s:g} s"
    crash = evidence.endings.crash(Side.SOURCE)
    if crash is not None:
        return RULE.violated(
            f"{within}, and the source's QEMU ended", over, crash, shape="source-ended"
        )
    wrong = _not_cancelled(evidence) or _unhealthy(evidence)
    if wrong is not None:
        return RULE.violated(f"{within}, and {wrong[0]}", over, *wrong[1], shape="unhealthy")
    standing = convergence.standing(evidence, over)
    if standing is None:
        return RULE.unknown(f"{within}; how much was pending, and how much allowed, is not known")
    numbers = {"pending": standing.pending, "allowed": standing.allowed}
    sentence = f"{within}: {standing.words}"
    if standing.should_have_switched:
        if evidence.scenario.capabilities.get(_ACK):
            return RULE.unknown(f"{sentence}; the switchover waits for its {_ACK}", **numbers)
        return RULE.violated(
            f"{sentence}, and the source did not switch over",
            *standing.evidence,
            shape="no-switchover",
            **numbers,
        )
    if standing.pending <= standing.allowed:
        return RULE.unknown(f"{sentence}; that was so for less than a second", **numbers)
    # LIF-4 judges which of the two it reports after a cancel; here it must have ended by it.
    status, end = evidence.endings.status(Side.SOURCE), evidence.endings.last_status(Side.SOURCE)
    cancels = evidence.endings.commands(Side.SOURCE, interruption.CANCEL)
    was_cancelled = bool(cancels) and end is not None and end.t_ns >= cancels[0].t_ns
    if status not in ("cancelled", "failed") or not was_cancelled:
        return RULE.unknown(f"{sentence}; whether it can be cancelled was not seen", **numbers)
    if interruption.running(evidence, Side.SOURCE) is None:
        return RULE.unknown(f"{sentence}; whether the guest runs was not checked", **numbers)
    return RULE.valid(f"{sentence}; the source was healthy, and could be cancelled", **numbers)


def _not_cancelled(evidence: Evidence) -> tuple[str, list[Record]] | None:
    """That the cancel did not end the migration."""
    hung = interruption.stuck(evidence, Side.SOURCE)
    if not hung or evidence.endings.status(Side.SOURCE) in OVER:
        return None
    cancels = evidence.endings.commands(Side.SOURCE, interruption.CANCEL)
    return "it could not be cancelled", [*cancels[-1:], *hung]


def _unhealthy(evidence: Evidence) -> tuple[str, list[Record]] | None:
    """That the source does not answer, or that its guest does not run on with its devices."""
    silent = interruption.silent(evidence, Side.SOURCE)
    return ("the source does not answer", silent) if silent else interruption.lost(evidence)
