"""Each broken twin is caught by its requirement, and by no other than it says.

The twins are shown on synthetic runs here; on recorded ones in ``test_judge``.
"""

import importlib
import re
from pathlib import Path

import pytest

from harness.check.judge import RULES, judge
from harness.check.verdict import Outcome
from tests.twins import TWINS, Twin
from tests.twins.damage import Unfit
from tests.unit.check.histories import GOOD, good, history, scenario

for path in sorted((Path(__file__).parents[1] / "check" / "rules").glob("test_*.py")):
    importlib.import_module(f"tests.unit.check.rules.{path.stem}")  # may have a twin of its rule


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.name)
def test_twin_is_caught_by_its_requirement_and_no_other(twin: Twin):
    verdict = judge(twin.of(good(twin.shown_on)))
    assert set(verdict.with_outcome(Outcome.VIOLATED)) == {twin.requirement, *twin.also}
    assert verdict.exit_status == 1


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.name)
def test_violation_shows_the_records_that_contradict(twin: Twin):
    damaged = twin.of(good(twin.shown_on))
    verdict = judge(damaged)
    for requirement in verdict.with_outcome(Outcome.VIOLATED):
        finding = verdict.finding(requirement)
        assert finding is not None
        assert finding.evidence
        assert len(finding.evidence) <= 5
        assert all(record in damaged.records for record in finding.evidence)
        assert "\n" not in finding.sentence
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", finding.shape), finding.sentence


def test_every_rule_has_a_twin_that_it_must_catch():
    assert {twin.requirement for twin in TWINS} == {rule.id for rule in RULES}


def test_twins_have_names_of_their_own():
    names = [twin.name for twin in TWINS]
    assert len(set(names)) == len(names)


def test_twins_name_requirements_and_runs_that_there_are():
    known = {rule.id for rule in RULES}
    assert all({twin.requirement, *twin.also} <= known for twin in TWINS)
    assert {twin.shown_on for twin in TWINS} <= set(GOOD)


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.name)
def test_twin_changes_something_and_leaves_the_good_run_alone(twin: Twin):
    run = good(twin.shown_on)
    before = list(run.records)
    damaged = twin.of(run)
    assert list(run.records) == before
    assert list(damaged.records) != before
    assert damaged.manifest.records == len(damaged.records)
    times = [record.t_ns for record in damaged.records]
    assert times == sorted(times)


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.name)
def test_twin_says_so_where_there_is_nothing_to_damage(twin: Twin):
    with pytest.raises(Unfit):
        twin.of(history(scenario(), []))
