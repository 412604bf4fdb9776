"""LIF-6: A storm of QMP commands while state is loaded causes no deadlock.

Each command is answered, with a return or an error; a command that is not answered within the
monitor's time limit leaves no record of an answer.  The migration completes, unless the scenario
ends it otherwise.  If QEMU refuses every command of the storm, no lock was contended and nothing
was tested.  Only commands sent before the last configuration was loaded count as sent during the
load.
"""

from harness.check import hang, interruption, planned
from harness.check.assumptions import Assumption
from harness.check.evidence import CONFIG_END, Evidence
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history.records import Event, Record, Side
from harness.model.expectation import Ending
from harness.scenario.action_plan import Storm, Target

RULE = Rule(
    id="LIF-6",
    title="A storm of commands during the load causes no deadlock",
    needs=(Assumption.COMPLETE, Assumption.LAUNCHED, Assumption.DESTINATION_TRACE),
    trusts=(Assumption.ENDINGS_KNOWN,),
)


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    is_planned = any(isinstance(action, Storm) for action in evidence.scenario.actions)
    return "" if is_planned else "there was no storm of commands"


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    storms = [(a, record) for a, record in planned.done(evidence) if isinstance(a, Storm)]
    if not storms:
        return RULE.unknown("the moment for the storm did not come")
    deadline = evidence.endings.deadline
    shape = hang.cause(evidence, deadline) if deadline is not None else None
    if shape is not None:
        return RULE.unknown(f"it did not end for another reason: {shape[0]}")
    if excuse := planned.excuse(evidence):
        return RULE.unknown(f"it did not end for another reason: {excuse}")
    if not any(planned.was_taken(evidence, storm, record) for storm, record in storms):
        return RULE.unknown("QEMU refused every command of the storm")
    sent = met = 0
    for storm, began in storms:
        side = Side.SOURCE if storm.target is Target.SOURCE else Side.DESTINATION
        hung = interruption.stuck(evidence, side)
        if hung:
            return RULE.violated(
                f"the {side} was blocked in a storm of commands",
                began,
                *hung,
                shape=f"{side}-hung-in-storm",
            )
        for command in storm.commands:
            asked = _since(evidence, side, command, "execute", began)
            answered = [*_since(evidence, side, command, "return", began),
                        *_since(evidence, side, command, "error", began)]  # fmt: skip
            if len(answered) < len(asked) and interruption.was_ended(evidence, side):
                return RULE.unknown(f"the scenario has ended the {side} in the storm")
            if len(answered) < len(asked):
                return RULE.violated(
                    f"the {side} did not answer {command} {len(asked) - len(answered)} times",
                    began,
                    asked[-1],
                    shape="command-not-answered",
                )
            sent += len(asked)
            met += sum(record.t_ns < _loaded_ns(evidence) for record in asked)
    numbers = {"commands": sent, "before_all_was_loaded": met}
    if not evidence.endings.is_completed and evidence.expectation.ending is not Ending.COMPLETED:
        return RULE.unknown(
            f"the migration did not complete for another reason: {evidence.expectation.ending}",
            **numbers,
        )
    if not evidence.endings.is_completed:
        return RULE.violated(
            "the migration did not complete in a storm of commands",
            storms[0][1],
            evidence.endings.last_status(Side.DESTINATION),
            evidence.endings.deadline,
            shape="did-not-complete",
            **numbers,
        )
    if not met:
        return RULE.unknown("no command was sent during the load", **numbers)
    return RULE.valid("every command was answered, and the migration completed", **numbers)


def _since(evidence: Evidence, side: Side, command: str, name: str, began: Record) -> list[Event]:
    return [
        record
        for record in evidence.endings.commands(side, command, name)
        if record.t_ns >= began.t_ns
    ]


def _loaded_ns(evidence: Evidence) -> int:
    devices = evidence.traced_devices(Side.DESTINATION, CONFIG_END)
    ends = [evidence.trace(Side.DESTINATION, CONFIG_END, device)[-1].t_ns for device in devices]
    return max(ends, default=0)
