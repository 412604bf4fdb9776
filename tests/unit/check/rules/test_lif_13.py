"""LIF-13: a migration leaves no descriptors and threads behind."""

import pytest

from harness.check.hang import SEND_END, SYNC_WAIT
from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.session import Deadline
from tests.unit.check.histories import completed, find, good, without
from tests.unit.check.lives import added, continued, holding
from tests.unit.check.story import SRC, Record, Story, scenario


def second(after: str = "cancelled"):
    return continued(completed(scenario()), after)


def outcome(run) -> Outcome:
    return find(run, "LIF-13").outcome


def test_source_that_holds_what_it_held():
    finding = find(good("second after a cancel"), "LIF-13")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers == {"descriptors": 4, "threads": 2}


def test_source_that_holds_less():
    assert outcome(holding(second(), sockets=0)) is Outcome.VALID


@pytest.mark.parametrize("after", ["cancelled", "failed", "completed"])
def test_socket_or_thread_that_is_left(after):
    finding = find(holding(second(after), sockets=3), "LIF-13")
    assert finding.shape == "descriptors-left"
    assert "2 more descriptors of the kind socket" in finding.sentence
    threads = {"call_rcu": 1, "qemu": 1, "mig/src/send_0": 2}
    finding = find(holding(second(after), threads=threads), "LIF-13")
    assert finding.shape == "threads-left"
    assert "2 more threads" in finding.sentence


def test_idle_threads_of_pools_and_their_traces_are_no_loss():
    threads = {"call_rcu": 1, "qemu": 1, "pool-0": 1, "worker": 1}
    assert outcome(holding(second(), threads=threads, files=5)) is Outcome.VALID
    assert outcome(holding(second(), threads=threads, files=6)) is Outcome.VIOLATED


def test_thread_that_got_its_name_meanwhile_is_none_more():
    assert outcome(holding(second(), threads={"qemu": 2})) is Outcome.VALID


def test_what_is_opened_once_is_no_loss_of_a_first_migration():
    assert outcome(holding(second("completed"), files=4)) is Outcome.VALID
    assert outcome(holding(second("cancelled"), files=4)) is Outcome.VIOLATED


def test_it_is_not_asked_without_an_earlier_migration_or_records():
    assert "made no migration" in judge(holding(completed(scenario()))).not_applicable["LIF-13"]
    assert "not recorded" in judge(second()).not_applicable["LIF-13"]


def test_what_was_seen_once_or_hangs_is_unknown():
    run = holding(second())
    ended = next(r for r in reversed(run.records) if r.name == "resources")
    once = without(run, "resources")
    assert outcome(added(once, ended)) is Outcome.UNKNOWN
    story = Story()
    deadline: Record = story.put("harness", Deadline(waiting_for="the end", deadline_s=15.0))
    assert outcome(added(holding(second(), sockets=9), deadline)) is Outcome.UNKNOWN


def test_migration_thread_that_waits_forever_is_the_cause():
    threads = {"qemu": 2, "mig/src/main": 1}
    run = holding(second("failed"), threads=threads, sockets=6)
    ended = next(r for r in reversed(run.records) if r.name == "resources")
    story = Story()
    story.trace(SRC, SYNC_WAIT, id=0, t=ended.t_ns - 2)
    story.trace(SRC, SEND_END, id=2, packets=35, t=ended.t_ns - 1)
    finding = find(added(run, *story.records), "LIF-13")
    assert finding.shape == "send-sync-waits-for-ended-channel"
    assert "of which 2 ended" in finding.sentence
