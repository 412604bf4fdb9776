"""LIF-9: the source does not report completed what the destination failed to load."""

import msgspec
import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history import Side
from harness.history.records import Record
from harness.history.rundir import History
from harness.history.session import Action, Replayed
from harness.scenario.action_plan import Kill, Target, When
from tests.twins.damage import pick, swap
from tests.unit.check.histories import changed, find, good
from tests.unit.check.relayed import Relayed
from tests.unit.check.story import DST, SRC, scenario


def source_says(status):
    run = good("duplicate")
    told = pick(run.records, "MIGRATION", side=SRC, status="failed")
    answers = pick(run.records, "return", side=SRC, command="query-migrate")
    records = swap(swap(list(run.records), told, status=status), answers, value={"status": status})
    return changed(run, records)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_source_that_fails_too(status):
    assert find(source_says(status), "LIF-9").outcome is Outcome.VALID


def test_source_that_completes():
    finding = find(source_says("completed"), "LIF-9")
    assert finding.outcome is Outcome.VIOLATED
    assert [record.side for record in finding.evidence] == [SRC, DST]


def test_source_that_goes_on_is_unknown():
    assert find(source_says("active"), "LIF-9").outcome is Outcome.UNKNOWN


def test_it_is_not_asked_where_nothing_failed_or_nobody_can_tell():
    assert judge(good("missing packet")).not_applicable["LIF-9"] == "the destination did not fail"
    assert judge(good("multifd")).not_applicable["LIF-9"] == "the scenario has no faults"
    story = Relayed(scenario(return_path=False))
    story.send()
    story.fault("drop")
    assert "no return path" in judge(story.completed()).not_applicable["LIF-9"]


def test_source_of_a_replay_is_not_asked():
    run = source_says("completed")
    told = Record.of(run.records[0].t_ns, Side.HARNESS, Replayed(capture="x"))
    verdict = judge(changed(run, [*run.records, told]))
    assert verdict.not_applicable["LIF-9"] == "the source is a capture, which notices nothing"


def test_source_that_the_scenario_has_ended_owes_no_word():
    run = source_says("active")
    kill = Kill(when=When(), target=Target.SOURCE)
    acted = Record.of(run.records[-1].t_ns, Side.HARNESS, Action(action="", position=0))
    killed = msgspec.structs.replace(run.scenario, actions=(kill,))
    verdict = judge(History(killed, run.manifest, [*run.records, acted]))
    assert verdict.not_applicable["LIF-9"].startswith("the source was ended by the scenario")
