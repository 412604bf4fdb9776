"""Judging a run that is not over: whether what is seen of it is wrong, and known."""

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history import contract
from harness.history.rundir import History
from harness.job.known import explained, interrupted_by
from harness.session.assessment import Assessment


def assess(history: History) -> Assessment:
    """What the verdict on ``history`` would be if it ended so.

    :raise HistoryError: a record is not as its name promises
    """
    contract.check(history.records, history.scenario, history.scenario.name)
    verdict = judge(history)
    violated = {f.requirement for f in verdict.findings if f.outcome is Outcome.VIOLATED}
    if not violated:
        return Assessment.RIGHT
    is_known = violated <= explained(history, verdict).keys() or interrupted_by(history, verdict)
    return Assessment.KNOWN if is_known else Assessment.NEW
