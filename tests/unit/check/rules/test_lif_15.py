"""LIF-15: migrate-pause is refused with a reason."""

import msgspec
import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.scenario.action_plan import Target
from tests.unit.check.histories import completed, find, good, without
from tests.unit.check.lives import CANCEL, PAUSE, Life, ended, pause_of_migration
from tests.unit.check.story import SRC, scenario


def test_refused_with_a_reason_is_right():
    finding = find(good("pause refused"), "LIF-15")
    assert finding.outcome is Outcome.VALID
    assert finding.sentence == "refused in the status active by the source: postcopy only"


def test_accepted_is_violated():
    finding = find(ended(pause_of_migration("done")), "LIF-15")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, "source-accepted")


def test_refused_without_a_word_is_violated():
    finding = find(ended(pause_of_migration(desc="")), "LIF-15")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, "source-gave-no-reason")


@pytest.mark.parametrize("how", ["unanswered", "lost"])
def test_no_answer_is_unknown(how):
    assert find(ended(pause_of_migration(how)), "LIF-15").outcome is Outcome.UNKNOWN


def test_answer_that_was_not_recorded_is_unknown():
    run = without(good("pause refused"), "action_ended")
    assert find(run, "LIF-15").outcome is Outcome.UNKNOWN


def test_postcopy_may_be_paused():
    life = Life(scenario(actions=(PAUSE, CANCEL), capabilities={"postcopy-ram": True}))
    life.status(SRC, "failed")
    assert judge(ended(life)).not_applicable["LIF-15"] == "postcopy can be paused"


def test_of_a_migration_that_nobody_pauses_it_is_not_asked():
    assert judge(completed(scenario())).not_applicable["LIF-15"] == "no action is migrate-pause"
    hmp = msgspec.structs.replace(PAUSE, command="human-monitor-command")
    other = scenario(actions=(msgspec.structs.replace(hmp, target=Target.DESTINATION),))
    assert "LIF-15" in judge(completed(other)).not_applicable
