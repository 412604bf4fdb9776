"""What rules are made of: their findings, and when they are asked."""

import ast
from pathlib import Path

import pytest

from harness import check
from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence, Seen
from harness.check.rule import Rule, completed, not_judged, over_multifd, with_faults
from harness.check.verdict import Outcome
from harness.history import Kind, Record, Side
from harness.model.expectation import expect
from harness.scenario import OnOffAuto
from harness.scenario.fault_plan import Drop
from tests.unit.check.histories import FACTS, device, good, scenario

RULE = Rule("ORD-1", "title")
RECORD = Record(1, Side.SOURCE, Kind.QMP, "STOP")


def asked(asks, *devices, **fields) -> str:
    of = scenario(*devices, **fields)
    return asks(of, expect(of, FACTS, FACTS))


def test_findings_carry_requirement_outcome_and_numbers():
    finding = RULE.valid("it is so", loads=3)
    assert (finding.requirement, finding.outcome) == ("ORD-1", Outcome.VALID)
    assert finding.numbers == {"loads": 3}
    assert RULE.unknown("nobody knows").outcome is Outcome.UNKNOWN


def test_violation_keeps_the_evidence_that_there_is():
    finding = RULE.violated("no", None, RECORD, None)
    assert finding.outcome is Outcome.VIOLATED
    assert finding.evidence == (RECORD,)


def test_violation_has_a_shape_beside_its_numbers():
    finding = RULE.violated("no", RECORD, shape="accepted", loads=3)
    assert (finding.shape, finding.numbers) == ("accepted", {"loads": 3})


def _calls_without_a_shape() -> list[str]:
    return [
        f"{path.name}:{call.lineno}"
        for path in sorted(Path(check.__file__).parent.rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "violated"
        and "shape" not in {keyword.arg for keyword in call.keywords}
    ]


def test_every_violation_of_every_rule_is_given_a_shape():
    """Also those that no twin and no saved run shows."""
    assert not _calls_without_a_shape()


def test_what_must_complete_is_asked():
    assert asked(completed) == ""
    assert asked(completed, device(multifd_transfer=OnOffAuto.OFF)) == ""


def test_what_must_not_complete_is_not_asked():
    assert "must not complete: refused at setup" in asked(completed, multifd=False)
    assert "must not complete" in asked(over_multifd, multifd=False)


def test_multifd_is_asked_where_one_device_uses_it():
    off = device("b", multifd_transfer=OnOffAuto.OFF)
    assert asked(over_multifd, device(), off) == ""
    assert asked(over_multifd, off) == "no device's state goes over multifd"


def test_rule_trusts_the_endings_unless_it_says_otherwise():
    assert RULE.trusts == (Assumption.ENDED_WELL, Assumption.ENDINGS_KNOWN)


def test_rule_applies_to_every_scenario_and_run_unless_it_says_otherwise():
    run = Evidence(Seen(good("multifd")), expect(scenario(), FACTS, FACTS))
    assert RULE.skip_reason(run.scenario, run.expectation) == ""
    assert RULE.skip_reason_of(run) == ""


def test_functions_are_given_to_a_rule_by_its_decorators():
    rule = Rule("X-1", "title")

    @rule.judges
    def judge(_run):
        return rule.valid("so it was")

    @rule.skips
    def skip_reason(_scenario, _expectation):
        return "no such scenario"

    @rule.skips_run
    def skip_reason_of(_run):
        return "no such run"

    assert (rule.judge, rule.skip_reason, rule.skip_reason_of) == (
        judge,
        skip_reason,
        skip_reason_of,
    )


def test_rule_without_a_judge_is_a_bug():
    run = Evidence(Seen(good("multifd")), expect(scenario(), FACTS, FACTS))
    with pytest.raises(NotImplementedError):
        RULE.judge(run)


def test_rules_about_faults_are_asked_where_there_are_some():
    assert asked(with_faults) == "the scenario has no faults"
    assert asked(with_faults, faults=(Drop(),)) == ""


def test_nothing_is_demanded_where_a_setting_is_not_known():
    fields = {"capabilities": {"x-colo": True}}
    assert asked(completed, **fields) == "the model does not know capability x-colo"
    assert asked(over_multifd, **fields) == "the model does not know capability x-colo"
    assert not_judged(expect(scenario(**fields), FACTS, FACTS)) == asked(completed, **fields)
    assert not_judged(expect(scenario(), FACTS, FACTS)) == ""
