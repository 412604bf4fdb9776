"""LIF-10: A guest that is paused arrives paused, and stays paused if the migration ends otherwise.

It applies if the scenario has paused the guest (``stop``) before or during the migration, or if the
guest came paused from the migration before, and nothing has resumed it (``cont``).  The side
that has the guest in the end is asked whether it runs (query-status): the destination if it has
completed, else a source that has failed or cancelled.  ``stop`` to a destination that still loads
keeps the guest paused as well.

QEMU accepts ``stop`` at every status.  From pre-switchover on, the source's guest is stopped
already, and the command changes nothing (do_vm_stop() in system/cpus.c): QEMU then goes on with
what the guest was before, which is what the requirement forbids.  A ``stop`` that comes later than
pre-switchover says nothing about the destination, to which the guest is on its way.

A guest that is suspended (ACPI S3, the action ``suspend``) before the migration stops it arrives
suspended, and stays so, too (vm_was_suspended in system/cpus.c).  QEMU reports that it is by the
event SUSPEND.

This could be wrong in both ways.  A ``stop`` that QEMU took just as the migration stopped the guest
is not known to have come first: trace events of the devices (vfio_vmstate_change) say why a guest
was stopped, and without them a running guest is UNKNOWN.  A source that has just failed is stopped
for a moment longer: ``finish-migrate`` is not said to be paused.
"""

from harness.check import interruption, planned
from harness.check.assumptions import Assumption
from harness.check.evidence import PEERS, Evidence
from harness.check.rule import Rule, not_judged
from harness.check.verdict import Finding
from harness.history import session
from harness.history.records import Event, Record, Side
from harness.model.expectation import Expectation
from harness.scenario import Scenario
from harness.scenario.action_plan import PAUSES, Execute, Target

RULE = Rule(
    id="LIF-10",
    title="A paused guest arrives paused, and stays paused if the migration ends otherwise",
    trusts=(Assumption.ENDINGS_KNOWN,),
)
STATE_CHANGE = "vfio_vmstate_change"
"""Trace event of hw/vfio/trace-events: the guest was stopped or resumed, and why."""
_TRANSIENT = ("finish-migrate", "inmigrate")
"""Run states that a guest leaves by itself."""
_STOPPED_AT = ("pre-switchover", "device", "failing", "cancelling")
"""Statuses of a source whose guest the migration may have stopped."""


@RULE.skips
def skip_reason(_scenario: Scenario, expectation: Expectation) -> str:
    return not_judged(expectation)


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    is_suspended = interruption.is_suspended(evidence)
    if not (_stops(evidence) or _came_paused(evidence) or is_suspended):
        return "the scenario has not paused the guest"
    if _is_resumed(evidence):
        return "the scenario has resumed the guest"
    side = _holder(evidence)
    if interruption.was_ended(evidence, side):
        return f"the scenario has ended the {side}, which had the guest"
    if is_suspended:
        return "the scenario has also paused the guest" if _stops(evidence) else ""
    if side is Side.DESTINATION and _is_on_its_way(evidence):
        return "the guest was on its way to the destination when the source was sent stop"
    return ""


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    side = _holder(evidence)
    status = evidence.endings.status(side)
    if status not in ("completed", "failed", "cancelled") or (
        side is Side.SOURCE and status == "completed"
    ):
        return RULE.unknown(
            f"which side has the guest is not known: the {side}'s status is {status or 'not known'}"
        )
    answer = interruption.running(evidence, side)
    if answer is None:
        return RULE.unknown(f"the {side} was not asked whether its guest runs")
    state = str(answer.args["value"].get("status", ""))
    if interruption.is_suspended(evidence):
        return _suspended(evidence, side, state, answer)
    ended = (
        "the guest arrived" if side is Side.DESTINATION else f"the source {status} the migration"
    )
    if not interruption.is_running(answer):
        if state in _TRANSIENT:
            return RULE.unknown(f"{ended}, and is in the state {state}, which is not its last")
        return RULE.valid(
            "the guest arrived paused"
            if side is Side.DESTINATION
            else f"the source {status} the migration, and its guest is paused"
        )
    return _runs(evidence, side, (evidence.endings.last_status(side), answer))


def _suspended(evidence: Evidence, side: Side, state: str, answer: Event) -> Finding:
    """Whether the guest is suspended in the end, if it surely was as the source stopped."""
    suspended = evidence.qmp(Side.SOURCE, "SUSPEND")
    stopped = [
        record.t_ns
        for record in evidence.qmp(Side.SOURCE, "STOP")
        if not suspended or record.t_ns < suspended[0].t_ns
    ]
    if not suspended or stopped or evidence.qmp(Side.SOURCE, "WAKEUP"):
        return RULE.unknown("the guest was not suspended before the migration stopped it")
    where = "arrived" if side is Side.DESTINATION else "stayed"
    if state == "suspended":
        return RULE.valid(f"the guest was suspended, and {where} so", state=state)
    if interruption.is_running(answer):
        return RULE.violated(
            f"the guest was suspended, {where}, and runs",
            suspended[0],
            evidence.endings.last_status(side),
            answer,
            shape="suspended-guest-runs",
        )
    return RULE.unknown(f"the guest was suspended, {where}, and is in the state {state}")


def _runs(evidence: Evidence, side: Side, end: tuple[Record | None, ...]) -> Finding:
    """The guest runs: whether a ``stop`` that counts came before."""
    where = "arrived" if side is Side.DESTINATION else "stayed"
    here = [stop for target, stop in _stops(evidence) if target == side.value]
    if side is Side.DESTINATION and here:
        return RULE.violated(
            "the destination was sent stop, and runs the guest",
            *here[-1],
            *end,
            shape="destination-ran-what-it-stopped",
        )
    if _came_paused(evidence):
        return RULE.violated(
            f"the guest came paused from the migration before, {where}, and runs",
            *end,
            shape="paused-guest-runs",
        )
    found = [stop for target, stop in _stops(evidence) if target is Target.SOURCE]
    effects = [_effect(evidence, *stop) for stop in found]
    if seen := [record for record in effects if record is not None]:
        return RULE.violated(
            f"the guest was paused, {where}, and runs", *found[0], seen[0], *end,
            shape="paused-guest-runs",
        )  # fmt: skip
    return _had_no_effect(evidence, side, found, where, end)


def _had_no_effect(
    evidence: Evidence,
    side: Side,
    stops: list["_Stop"],
    where: str,
    end: tuple[Record | None, ...],
) -> Finding:
    """QEMU accepted the stops, and none of them is seen to have stopped the guest."""
    if not _is_traced(evidence):
        return RULE.unknown("the guest runs; whether it was paused is not traced")
    for begun, ended in stops:
        at = interruption.status_at(evidence, Side.SOURCE, begun.t_ns)
        is_early = at == "pre-switchover" and not _was_continued(evidence, ended)
        if is_early or (side is Side.SOURCE and at in _STOPPED_AT):
            return RULE.violated(
                f"the source accepted stop in the status {at}, where it changes nothing; the guest "
                f"{where}, and runs",
                begun,
                ended,
                *end,
                shape="stop-had-no-effect",
            )
    return RULE.unknown("the guest runs; the migration may have stopped it before stop did")


_Stop = tuple[Record[session.Action], Record[session.ActionEnded]]


def _stops(evidence: Evidence) -> list[tuple[Target, _Stop]]:
    """Each ``stop`` that QEMU has accepted: to which side, and the records of its beginning and
    answer.
    """
    answers = {record.args.position: record for record in evidence.of(session.ActionEnded)}
    return [
        (action.target, (begun, answers[begun.args.position]))
        for action, begun in planned.done(evidence)
        if isinstance(action, Execute)
        and PAUSES.get(action.effect, False)
        and begun.args.position in answers
        and answers[begun.args.position].args.how == "done"
    ]


def _is_resumed(evidence: Evidence) -> bool:
    return any(
        isinstance(action, Execute) and not PAUSES.get(action.effect, True)
        for action, _ in planned.done(evidence)
    )


def _came_paused(evidence: Evidence) -> bool:
    return any(record.args.is_paused for record in evidence.of(session.Continued))


def _holder(evidence: Evidence) -> Side:
    """Which side has the guest in the end."""
    is_there = evidence.endings.status(Side.DESTINATION) == "completed"
    return Side.DESTINATION if is_there else Side.SOURCE


def _effect(evidence: Evidence, begun: Record, ended: Record) -> Record | None:
    """The record that shows that ``stop`` paused the source's guest; None if none does."""
    for device in evidence.devices:
        for record in evidence.trace(Side.SOURCE, STATE_CHANGE, device.id):
            is_meanwhile = begun.t_ns <= record.t_ns <= ended.t_ns
            if is_meanwhile and record.args.get("reason") == "paused":
                return record
    return None


def _is_traced(evidence: Evidence) -> bool:
    """Whether the trace says why the source's guest was stopped."""
    return any(evidence.trace(Side.SOURCE, STATE_CHANGE, device.id) for device in evidence.devices)


def _is_on_its_way(evidence: Evidence) -> bool:
    """Whether each ``stop`` came when the migration was past pre-switchover."""
    return (
        _is_traced(evidence)
        and not _came_paused(evidence)
        and not evidence.scenario.capabilities.get("pause-before-switchover")
        and all(
            target is Target.SOURCE and _effect(evidence, *stop) is None
            for target, stop in _stops(evidence)
        )
    )


def _was_continued(evidence: Evidence, ended: Record) -> bool:
    """Whether the guest was let go on from pre-switchover before ``stop`` was answered."""
    return any(
        record.t_ns <= ended.t_ns
        for side in PEERS
        for record in evidence.endings.commands(side, "migrate-continue")
    )
