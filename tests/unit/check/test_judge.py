"""The judge: every rule is proved able to hold.  That it can fail is shown in ``tests/unit/twins``,
and recorded runs are judged in ``test_saved_runs``.
"""

import time
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from harness.check.judge import RULES, TITLES, judge
from harness.check.rule import Rule
from harness.check.verdict import Outcome
from harness.history.rundir import load
from tests.twins import TWINS, Twin
from tests.twins.damage import Unfit, one, swap
from tests.unit.check.histories import (
    DST,
    GOOD,
    changed,
    completed,
    device,
    find,
    good,
    history,
    scenario,
    with_manifest,
    without,
)

DATA = Path(__file__).parents[2] / "data"


# -- every rule can hold and can fail ----------------------------------------------------


@pytest.mark.parametrize("name", GOOD)
def test_good_run_is_valid_in_everything_that_is_asked(name):
    verdict = judge(good(name))
    wrong = [f for f in verdict.findings if f.outcome is not Outcome.VALID]
    assert not wrong
    assert verdict.overall is Outcome.VALID
    assert verdict.exit_status == 0


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_is_valid_in_some_good_run(rule):
    assert any(rule.id in judge(good(name)).with_outcome(Outcome.VALID) for name in GOOD)


@pytest.mark.parametrize("name", GOOD)
def test_nothing_observed_is_never_valid(name):
    run = history(good(name).scenario, [])
    verdict = judge(run)
    assert verdict.with_outcome(Outcome.VALID) == ()
    assert verdict.with_outcome(Outcome.VIOLATED) == ()
    assert verdict.overall is Outcome.UNKNOWN


@pytest.mark.parametrize("name", GOOD)
def test_history_that_was_cut_off_is_never_valid(name):
    verdict = judge(with_manifest(good(name), complete=False))
    assert verdict.overall is Outcome.UNKNOWN
    assert verdict.with_outcome(Outcome.VALID) == ()


@pytest.mark.parametrize("name", GOOD)
def test_without_the_ends_of_the_processes_nothing_is_valid(name):
    verdict = judge(without(good(name), "exited"))
    assert verdict.with_outcome(Outcome.VALID) == ()


@pytest.mark.parametrize("name", ["multifd", "slow", "pre-copy"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_run_that_ends_in_the_middle_accuses_nobody(name, share):
    """What is missing because the records stop contradicts nothing."""
    run = good(name)
    verdict = judge(changed(run, list(run.records[: int(len(run.records) * share)])))
    assert verdict.with_outcome(Outcome.VIOLATED) == ()
    assert verdict.with_outcome(Outcome.VALID) == ()


# -- how it asks and tells ---------------------------------------------------------------


def test_each_rule_is_either_judged_or_told_why_not():
    for name in GOOD:
        verdict = judge(good(name))
        asked = [finding.requirement for finding in verdict.findings]
        assert sorted([*asked, *verdict.not_applicable]) == sorted(TITLES)
        assert all(verdict.not_applicable.values())


def test_findings_come_in_the_order_of_the_rules():
    order = [rule.id for rule in RULES]
    asked = [finding.requirement for finding in judge(good("multifd")).findings]
    assert asked == [name for name in order if name in asked]


def test_rules_are_listed_once_with_a_title():
    ids = [rule.id for rule in RULES]
    assert len(set(ids)) == len(ids)
    assert all(title and "\n" not in title for title in TITLES.values())


def test_every_rule_file_is_listed():
    folder = Path(__file__).parents[3] / "harness" / "check" / "rules"
    modules = [import_module(f"harness.check.rules.{path.stem}") for path in folder.glob("*.py")]
    there = [each for module in modules for each in vars(module).values() if isinstance(each, Rule)]
    assert sorted(rule.id for rule in there) == sorted(rule.id for rule in RULES)


def test_refused_run_asks_nothing_about_order_or_statistics():
    verdict = judge(good("refused"))
    asked = {finding.requirement for finding in verdict.findings}
    assert asked == {"RUN", "SET-1"}
    assert "must not complete: refused at setup" in verdict.not_applicable["ORD-1"]


def test_missing_trace_is_told_as_the_reason():
    verdict = judge(completed(scenario(trace=())))
    finding = verdict.finding("ORD-5")
    assert finding is not None
    assert finding.outcome is Outcome.UNKNOWN
    assert finding.sentence == "the scenario enables no trace events"


def test_crash_makes_what_was_seen_unknown_and_keeps_the_numbers():
    run = good("multifd")
    end = one(run.records, "exited", side=DST)
    crashed = changed(run, swap(list(run.records), [end], signal=11, status=-1))
    finding = find(crashed, "ORD-1")
    assert finding.outcome is Outcome.UNKNOWN
    assert "what was seen agrees, but the destination QEMU ended by signal 11" in finding.sentence
    assert finding.numbers["loads"] == 25


@pytest.mark.parametrize("error", [KeyError("typo"), TypeError("x"), ValueError("x")])
@pytest.mark.parametrize("part", ["judge", "skip_reason_of", "skip_reason"])
def test_exception_of_a_rule_goes_up_as_it_is(monkeypatch, part, error):
    """It is our bug, and no damage of the history."""

    def fail(*_arguments):
        raise error

    failing: dict[str, Any] = {part: fail}
    broken = [replace(rule, **failing) if rule.id == "ORD-7" else rule for rule in RULES]
    monkeypatch.setattr("harness.check.judge.RULES", tuple(broken))
    with pytest.raises(type(error)) as caught:
        judge(good("multifd"))
    assert caught.value is error


def test_a_million_records_are_judged_in_seconds():
    """The limit is loose: it is about rules that look at every record for every record."""
    size = 40_000
    run = completed(scenario(device(size=size * 100, reported_size=100), channels=8))
    assert len(run.records) > 4 * size
    before = time.perf_counter()
    assert judge(run).overall is Outcome.VALID
    assert time.perf_counter() - before < 5


# -- recorded runs -----------------------------------------------------------------------


def recorded_twins() -> list[tuple[Twin, Path]]:
    """Twins with the recorded runs that they can be shown on."""
    folders = {
        "multifd": "two-devices",
        "refused": "compression-refused",
        "old machine": "machine-9.2",
        "blocked": "blocked",
    }
    found = []
    for twin in TWINS:
        path = DATA / "good" / folders.get(twin.shown_on, "none")
        if path.is_dir():
            with suppress(Unfit):
                twin.of(load(path))
                found.append((twin, path))
    return found


@pytest.mark.parametrize(
    ("twin", "path"), recorded_twins(), ids=lambda value: getattr(value, "name", "")
)
def test_twin_of_a_recorded_run_is_caught(twin, path):
    verdict = judge(twin.of(load(path)))
    assert twin.requirement in verdict.with_outcome(Outcome.VIOLATED)
