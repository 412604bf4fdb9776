"""LIF-9: If the destination fails to load, the source does not report the migration completed.

It applies if the destination refused what it was given: what faults have changed, or what a
destination that differs does not take (ORD-9, SET-10).  The source learns this over
the return path; without one the requirement does not apply.
"""

from harness.check import interruption
from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.prediction_input import seen_end
from harness.check.rule import Rule, with_faults
from harness.check.verdict import Finding
from harness.history.records import Side
from harness.history.session import Replayed
from harness.model.expectation import Ending, Expectation
from harness.model.prediction import Outcome
from harness.scenario import Scenario

RULE = Rule(
    id="LIF-9",
    title="The source does not report completed if the destination failed to load",
    trusts=(Assumption.ENDINGS_KNOWN,),
)
_DIFFERING = (Ending.DEVICE_REFUSED, Ending.SIDES_DIFFER)


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    if not scenario.return_path:
        return "there is no return path, so that the source cannot learn of it"
    if expectation.ending in _DIFFERING:
        return ""
    return with_faults(scenario, expectation)


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    if evidence.of(Replayed):
        return "the source is a capture, which notices nothing"
    if interruption.was_ended(evidence, Side.SOURCE):
        return "the source was ended by the scenario, and reports nothing"
    if evidence.prediction is None and evidence.expectation.ending not in _DIFFERING:
        return "no fault changed what was delivered"
    if seen_end(evidence) is not Outcome.REFUSED:
        return "the destination did not fail"
    return ""


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    endings = evidence.endings
    status = endings.status(Side.SOURCE)
    if status == "completed":
        return RULE.violated(
            "the destination failed to load, but the source reports the migration completed",
            endings.last_status(Side.SOURCE),
            endings.last_status(Side.DESTINATION) or endings.ended[Side.DESTINATION],
            shape="source-completed",
        )
    if status not in ("failed", "cancelled"):
        return RULE.unknown(
            f"the source has not ended the migration; its status is {status or 'not known'}"
        )
    return RULE.valid(f"the destination failed to load, and the source reports {status}")
