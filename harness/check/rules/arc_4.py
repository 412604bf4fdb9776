"""ARC-4: A guest that is reset while it migrates arrives intact, or the migration fails clearly.

A reset leads a device out of each migration state, to RUNNING, and ends its data_fd: each read and
write of it fails with ENODEV (vfio.h of Linux; mlx5vf_state_mutex_unlock()).  A device without
pre-copy has no data_fd until it stops, so that the migration may complete.  What is saved after
the reset must then arrive.  If the migration fails, it must fail on both sides with an error, and
the source's guest runs on.

It applies if ``system_reset`` was done at either side, from ``setup`` on and before the source
reported an end.

How it could be wrong.  VIOLATED of a right QEMU: what a cancel, a kill or a fault has done is not
the reset's; such runs are not judged.  Without a return path the source does not learn of a failure
of the destination, and may complete.  What the relay holds back, or a slow device, is no hang.
VALID for nothing seen: the reset must have reached a device (VFIO_DEVICE_RESET) before its side
reported the end of the migration, and the outcome of both sides must be known.
"""

from harness.check import hang, interruption, planned
from harness.check.assumptions import Assumption
from harness.check.evidence import OVER, PEERS, Evidence
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history.device import Reset
from harness.history.records import Record, Side
from harness.scenario.action_plan import Action, Execute

RULE = Rule(
    id="ARC-4",
    title="A guest that is reset while it migrates arrives intact, or the migration fails clearly",
    trusts=(Assumption.ENDINGS_KNOWN,),
)


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    if not interruption.is_asked(evidence, _is_reset):
        return "no guest was reset"
    if interruption.is_asked(evidence, interruption.may_stop):
        return "the migration was stopped in another way, too (LIF-3, LIF-4)"
    return "a fault may have ended it" if evidence.scenario.faults else ""


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    found = _reset(evidence)
    if found is None:
        return RULE.unknown("no reset of a device was seen while the migration was under way")
    act, reset = found
    endings = evidence.endings
    at = interruption.status_at(evidence, Side.SOURCE, act.t_ns)
    over = _over_ns(evidence, reset.side)
    if over is not None and over < reset.t_ns:
        return RULE.unknown("the reset came once the migration was over", at=at)
    what = f"the {reset.side}'s guest was reset in {at}"
    for peer in PEERS:
        end = endings.crash(peer)
        if end is not None and (end.args.signal or peer is Side.SOURCE):
            return RULE.violated(f"{what}, and the {peer}'s QEMU ended", reset, end, shape="died")
        hung = interruption.stuck(evidence, peer)
        if hung:
            return _stuck(evidence, what, reset, hung, peer)
    statuses = {peer: endings.status(peer) for peer in PEERS}
    source, destination = statuses[Side.SOURCE], statuses[Side.DESTINATION]
    if endings.is_completed:
        return _arrived(evidence, f"{what}; both sides completed", reset, at)
    has_exited = endings.crash(Side.DESTINATION) is not None
    if source == "completed" and (destination == "failed" or has_exited):
        if not evidence.scenario.return_path:
            return RULE.unknown(f"{what}; no return path reports the failure to the source", at=at)
        return RULE.violated(
            f"{what}; the destination failed, but the source reports the migration completed",
            reset,
            endings.last_status(Side.SOURCE),
            shape="source-completed-after-reset",
        )
    if source != "failed" or not (destination in OVER or has_exited):
        words = " and ".join(
            f"the {peer}'s {each or 'not known'}" for peer, each in statuses.items()
        )
        return RULE.unknown(f"{what}; the status is {words}", at=at)
    return _failed(evidence, what, reset, at)


def _is_reset(action: Action) -> bool:
    return isinstance(action, Execute) and action.effect == "system_reset"


def _reset(evidence: Evidence) -> tuple[Record, Record] | None:
    """The first reset that was asked for while the migration was under way, and the first device
    that it has reached.
    """
    for action, record in planned.done(evidence):
        if not _is_reset(action) or not isinstance(action, Execute):
            continue
        status = interruption.status_at(evidence, Side.SOURCE, record.t_ns)
        if not status or status in OVER:
            continue
        resets = evidence.of(Reset, Side(action.target.value))
        after = [each for each in resets if each.t_ns > record.t_ns]
        if after:
            return record, after[0]
    return None


def _over_ns(evidence: Evidence, side: Side) -> int | None:
    """When ``side`` reported the end of the migration; None if it did not."""
    for status, record in evidence.endings.statuses[side]:
        if status in OVER and record.name == "MIGRATION":
            return record.t_ns
    return None


def _stuck(evidence: Evidence, what: str, reset: Record, hung: list[Record], peer: Side) -> Finding:
    if excuse := planned.excuse(evidence):
        return RULE.unknown(f"{what}, and the {peer} did not end: {excuse}")
    cause = hang.cause(evidence, hung[0])
    why = f": {cause.words}" if cause else ""
    return RULE.violated(
        f"{what}, and the {peer} did not end{why}",
        reset,
        *hung,
        *(cause.records if cause else ()),
        shape=cause.shape if cause else f"{peer}-did-not-end",
    )


def _arrived(evidence: Evidence, what: str, reset: Record, at: str) -> Finding:
    """Whether the state that the source's devices had after the reset arrived."""
    wrong = interruption.damaged(evidence)
    if wrong is None:
        return RULE.valid(f"{what}, with all of the state", at=at)
    if not wrong[1]:
        return RULE.unknown(f"{what}; {wrong[0]}", at=at)
    return RULE.violated(f"{what}, but {wrong[0]}", reset, *wrong[1], shape="bytes-differ")


def _failed(evidence: Evidence, what: str, reset: Record, at: str) -> Finding:
    """Whether it failed with a reason, on both sides, and the source runs on."""
    endings = evidence.endings
    if endings.status(Side.DESTINATION) == "completed":
        return RULE.violated(
            f"{what}; the source failed, but the destination completed",
            reset,
            endings.last_status(Side.SOURCE),
            endings.last_status(Side.DESTINATION),
            shape="destination-completed-after-reset",
        )
    silent = interruption.silent(evidence, Side.SOURCE)
    if silent:
        sentence = f"{what}, and the source does not answer"
        return RULE.violated(sentence, reset, *silent, shape="source-silent-after-reset")
    gone = interruption.lost(evidence)
    if gone is not None:
        sentence = f"{what}, and {gone[0]}"
        return RULE.violated(sentence, reset, *gone[1], shape="source-lost-after-reset")
    if interruption.running(evidence, Side.SOURCE) is None:
        return RULE.unknown(f"{what}; whether the source runs on was not checked", at=at)
    said = [text for _, text in endings.errors_since(Side.SOURCE, reset.t_ns).certain]
    if not said:
        return RULE.unknown(f"{what}; the source reported no reason for its failure", at=at)
    return RULE.valid(f"{what}: both sides failed, and the source runs on", at=at, said=said[-1])
