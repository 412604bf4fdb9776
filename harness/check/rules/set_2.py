"""SET-2: with multifd compression or mapped-ram, on is refused and auto falls back to the
main channel."""

from harness.check.rule import Findings, Rule
from harness.check.rules.set_1 import RULE as SET_1
from harness.check.run import CheckedRun
from harness.check.transfer_path import gets_there, judge_path
from harness.check.verdict import Finding
from harness.model.expectation import Expectation, has_mapped_ram
from harness.model.settings import has_compression
from harness.scenario import Scenario

found = Findings("SET-2")


def asks(scenario: Scenario, expectation: Expectation) -> str:
    if not has_compression(scenario) and not has_mapped_ram(scenario):
        return "neither compression nor mapped-ram"
    return gets_there(expectation)


def judge(run: CheckedRun) -> Finding:
    return judge_path(run, found)


RULE = Rule(
    id="SET-2",
    title="Compression and mapped-ram keep device state on the main channel",
    asks=asks,
    judge=judge,
    needs=SET_1.needs,
    trusts=SET_1.trusts,
)
