"""LIF-7: forth and back and forth again: the state stays whole."""

from harness.check.evidence import INCOMING, SAVE_THREAD_START
from harness.check.hang import SYNC_SIGNAL
from harness.check.judge import judge
from harness.check.verdict import Outcome
from tests.twins.damage import one
from tests.unit.check.histories import changed, completed, find, good, with_args, without
from tests.unit.check.lives import Life, continued
from tests.unit.check.story import DST, SRC, scenario


def test_migration_after_a_completed_one():
    finding = find(continued(good("multifd"), "completed"), "LIF-7")
    assert finding.outcome is Outcome.VALID


def test_first_migration_is_not_asked():
    assert judge(good("multifd")).not_applicable["LIF-7"] == "no completed migration came before"


def test_migration_after_a_cancelled_one_is_not_asked():
    assert "LIF-7" in judge(continued(completed(scenario()), "cancelled")).not_applicable


def test_migration_that_fails():
    life = Life(scenario())
    life.status(SRC, "failed")
    life.status(DST, "failed")
    life.quit(SRC)
    life.quit(DST)
    finding = find(continued(life.history(), "completed"), "LIF-7")
    assert finding.outcome is Outcome.VIOLATED
    assert "the source's status is failed" in finding.sentence


def test_migration_that_hangs_says_where():
    life = Life(scenario())
    life.trace(SRC, SYNC_SIGNAL, id=0)
    life.trace(SRC, SAVE_THREAD_START, "vfio0", idstr="0000:00:02.0/vfio", instance_id=0)
    life.hangs(SRC)
    life.quit(SRC)
    finding = find(continued(life.history(), "completed"), "LIF-7")
    assert finding.outcome is Outcome.VIOLATED
    assert (
        "the source's status is active; the source's migration thread waits in" in finding.sentence
    )


def test_state_that_is_not_whole():
    run = good("multifd")
    got = one(run.records, "received", device="vfio1")
    wrong = with_args(run, got, first_difference=9)
    finding = find(continued(wrong, "completed"), "LIF-7")
    assert finding.outcome is Outcome.VIOLATED
    assert "vfio1 holds" in finding.sentence


def test_device_that_told_nothing_is_unknown():
    run = without(good("multifd"), "received")
    assert find(continued(run, "completed"), "LIF-7").outcome is Outcome.UNKNOWN


def test_packet_of_an_earlier_migration():
    run = good("multifd")
    stale = one(run.records, INCOMING, device="vfio0", idx=3)
    finding = find(continued(changed(run, [*run.records, stale]), "completed"), "LIF-7")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.sentence == "vfio0: packet 3 came in twice"


def test_counter_that_was_not_reset():
    run = good("multifd")
    told = one(run.records, "return", side=SRC, command="query-migrate")
    value = {"status": "completed", "vfio": {"transferred": 2 * (25 << 20)}}
    twice = with_args(run, told, value=value)
    finding = find(continued(twice, "completed"), "LIF-7")
    assert finding.outcome is Outcome.VIOLATED
    assert "it includes an earlier migration" in finding.sentence


def test_statistics_are_not_needed():
    run = good("multifd")
    told = one(run.records, "return", side=SRC, command="query-migrate")
    bare = with_args(run, told, value={"status": "completed"})
    finding = find(continued(bare, "completed"), "LIF-7")
    assert finding.outcome is Outcome.VALID
