"""SET-1: x-migration-multifd-transfer on, off and auto, each with multifd on and off.

On without support is refused with its reason; off, and auto without support, carry the
state on the main channel.  SET-2 and SET-3 ask the same where compression, mapped-ram or
an old machine type take the support away.
"""

from harness.check.assumptions import Assumption
from harness.check.rule import Findings, Rule
from harness.check.run import CheckedRun
from harness.check.transfer_path import gets_there, judge_path
from harness.check.verdict import Finding
from harness.model.expectation import Expectation
from harness.scenario import Scenario

found = Findings("SET-1")


def asks(_scenario: Scenario, expectation: Expectation) -> str:
    return gets_there(expectation)


def judge(run: CheckedRun) -> Finding:
    return judge_path(run, found)


RULE = Rule(
    id="SET-1",
    title="x-migration-multifd-transfer on, off and auto do what they say",
    asks=asks,
    judge=judge,
    needs=(
        Assumption.COMPLETE,
        Assumption.LAUNCHED,
        Assumption.SOURCE_TRACE,
        Assumption.DESTINATION_TRACE,
    ),
    trusts=(Assumption.ENDINGS_KNOWN,),
)
