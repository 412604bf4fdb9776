"""LIF-15: migrate-pause is refused with a reason, and the migration goes on.

It applies if an action of the scenario is ``migrate-pause``.  It is for postcopy only
(qmp_migrate_pause() in migration/migration.c), and VFIO has none: QEMU must refuse it on either
side and in each status.  RUN judges that the migration then ends as without it.

This could be wrong in both ways.  A migration with ``postcopy-ram`` may be paused: it is not
judged.  An answer that did not come, or one to a side that had ended, shows nothing: if there was
no other, this is UNKNOWN.  A refusal without a word is VIOLATED, one with any words is VALID.
"""

from harness.check import interruption
from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history import session
from harness.history.records import Side
from harness.model import settings
from harness.model.expectation import Expectation
from harness.scenario import Scenario
from harness.scenario.action_plan import Execute

RULE = Rule(
    id="LIF-15",
    title="migrate-pause is refused with a reason, and the migration goes on",
    trusts=(Assumption.ENDINGS_KNOWN,),
)
_PAUSE = "migrate-pause"


@RULE.skips
def skip_reason(scenario: Scenario, _expectation: Expectation) -> str:
    if not any(_is_pause(action) for action in scenario.actions):
        return "no action is migrate-pause"
    return "postcopy can be paused" if settings.has(scenario, "postcopy-ram") else ""


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    answers = {record.args.position: record for record in evidence.of(session.ActionEnded)}
    refused = []
    for begun in evidence.of(session.Action):
        action = evidence.scenario.actions[begun.args.position]
        ended = answers.get(begun.args.position)
        if not isinstance(action, Execute) or not _is_pause(action) or ended is None:
            continue
        side = Side(action.target)
        at = interruption.status_at(evidence, side, begun.t_ns)
        what = f"in the status {at or 'none'} by the {side}"
        if ended.args.how == "done":
            return RULE.violated(
                f"migrate-pause was accepted {what}", begun, ended, shape=f"{side}-accepted"
            )
        if ended.args.how == "refused" and not ended.args.desc:
            return RULE.violated(
                f"migrate-pause was refused {what} without a reason",
                begun,
                ended,
                shape=f"{side}-gave-no-reason",
            )
        if ended.args.how == "refused":
            refused.append(f"{what}: {ended.args.desc}")
    if not refused:
        return RULE.unknown("no QEMU has answered a migrate-pause")
    return RULE.valid(f"refused {'; '.join(refused)}", refused=len(refused))


def _is_pause(action: object) -> bool:
    return isinstance(action, Execute) and action.effect == _PAUSE
