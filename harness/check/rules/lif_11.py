"""LIF-11: After ``quit`` a QEMU ends with status 0, whatever its migration does.

It applies if an action of the scenario is ``quit``, to either QEMU at any status.  QEMU cancels a
migration on its way out (qemu_cleanup() in system/runstate.c, migration_shutdown() in
migration/migration.c), while its threads still run: each of them may crash on what is gone, or
keep it from its end.  What becomes of the other QEMU is judged by LIF-3.

This could be wrong in both ways.  A QEMU that is slow to quit is not one that does not: it is
VIOLATED only if nothing moved any more, or the deadline came, at least a second after the command,
and neither a slow device nor the relay held it up.  And a QEMU that the harness or the scenario
had killed before says nothing: UNKNOWN.
"""

from harness.check import planned
from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history.records import Record, Side
from harness.scenario.action_plan import Execute, Kill, is_quit

RULE = Rule(
    id="LIF-11",
    title="A QEMU ends with status 0 after quit",
    trusts=(Assumption.ENDINGS_KNOWN,),
)
_TIME_NS = 1_000_000_000
"""What a QEMU is given to quit, once it has the command."""


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    return "" if _quits(evidence) else "the scenario sends quit to no QEMU"


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    quits = _quits(evidence)
    unknown = ""
    for side, record in quits.items():
        wrong = _wrong(evidence, side, record)
        if isinstance(wrong, Finding):
            return wrong
        unknown = unknown or wrong
    if unknown:
        return RULE.unknown(unknown)
    return RULE.valid(f"{' and '.join(quits)} quit with status 0 as planned")


def _wrong(evidence: Evidence, side: Side, quit_: Record) -> Finding | str:
    """The violation, or why it is not known whether there is one; "" if there is none."""
    if any(isinstance(act, Kill) and act.target == side.value for act, _ in planned.done(evidence)):
        return f"the {side} was killed too"
    hung = [record for record in evidence.endings.hung if record.side is side]
    if hung:
        since_ns = min(record.t_ns for record in (evidence.endings.deadline, *hung) if record)
        if since_ns < quit_.t_ns + _TIME_NS:
            return f"the {side} was given no time to quit"
        if excuse := planned.excuse(evidence):
            return f"the {side} did not quit: {excuse}"
        return RULE.violated(
            f"the {side} was sent quit, and did not end", quit_, *hung, shape="did-not-quit"
        )
    end = evidence.endings.exited[side]
    if end is None:
        return f"the end of the {side} was not recorded"
    if evidence.endings.crash(side) is not None or evidence.endings.died_quitting(side) is not None:
        how = f"by signal {end.args.signal}" if end.args.signal else f"status {end.args.status}"
        said = [record for record, _ in evidence.endings.texts(side)][-1:]
        return RULE.violated(
            f"the {side} was sent quit, and ended {how}", quit_, *said, end,
            shape=f"{side}-died-quitting",
        )  # fmt: skip
    if end.args.signal or end.args.status:
        return f"the harness has ended the {side}"
    return ""


def _quits(evidence: Evidence) -> dict[Side, Record]:
    """The record of the first ``quit`` of each side."""
    found: dict[Side, Record] = {}
    for action, record in planned.done(evidence):
        if isinstance(action, Execute) and is_quit(action):
            found.setdefault(Side(action.target), record)
    return found
