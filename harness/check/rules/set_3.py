"""SET-3: with a machine type of 9.2 or older the transfer is off unless asked for, and
cannot be had (hw_compat_9_2 in hw/core/machine.c)."""

from harness.check.rule import Findings, Rule
from harness.check.rules.set_1 import RULE as SET_1
from harness.check.run import CheckedRun
from harness.check.transfer_path import gets_there, judge_path
from harness.check.verdict import Finding
from harness.model.expectation import FIRST_MACHINE, Expectation
from harness.scenario import Scenario

found = Findings("SET-3")


def asks(_scenario: Scenario, expectation: Expectation) -> str:
    if expectation.machine is None or expectation.machine >= FIRST_MACHINE:
        return "the machine type is newer than 9.2"
    return gets_there(expectation)


def judge(run: CheckedRun) -> Finding:
    return judge_path(run, found)


RULE = Rule(
    id="SET-3",
    title="Machine types of 9.2 and older keep device state on the main channel",
    asks=asks,
    judge=judge,
    needs=SET_1.needs,
    trusts=SET_1.trusts,
)
