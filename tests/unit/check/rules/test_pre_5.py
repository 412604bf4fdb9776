"""PRE-5: pre-copy that does not converge leaves the source healthy, and can be cancelled."""

from typing import Any

import msgspec
import pytest

from harness.check.convergence import ALLOWED, EXACT
from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history import Record
from harness.history.process import Hung
from harness.history.session import NotConverged
from tests.unit.check.histories import changed, find, good, only, without
from tests.unit.check.lives import STOPPED, called_off, not_converging
from tests.unit.check.story import DST, SRC


def verdict(life):
    life.quit(SRC)
    life.quit(DST)
    return find(life.history(), "PRE-5")


def test_more_is_pending_than_allowed():
    finding = find(good("not converging"), "PRE-5")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers == {"pending": 64 << 20, "allowed": 5 << 20}
    assert finding.sentence == (
        "pre-copy did not converge within 3 s: 67108864 bytes pending, 5242880 allowed; "
        "the source was healthy, and could be cancelled"
    )


def test_it_is_no_hang_and_nothing_else_is_asked():
    found = judge(good("not converging"))
    assert [finding.requirement for finding in found.findings] == ["RUN", "PRE-5"]
    assert found.overall is Outcome.VALID
    assert "67108864 bytes pending, 5242880 allowed" in found.findings[0].sentence


def test_status_with_which_a_cancel_ends_it_is_another_requirement():
    """QEMU may report a cancelled migration as failed (LIF-4); one that failed by itself is not
    shown to be one that can be cancelled.
    """
    run = good("not converging")
    (end,) = only(run, "MIGRATION", side=SRC, args={"status": "cancelled"})
    failed = msgspec.structs.replace(end, args={"status": "failed"})
    after = changed(run, [failed if record is end else record for record in run.records])
    assert find(after, "PRE-5").outcome is Outcome.VALID
    early = msgspec.structs.replace(failed, t_ns=run.records[0].t_ns)
    rest = [record for record in run.records if record is not end]
    before = without(changed(run, [early, *rest]), "return", args={"command": "query-migrate"})
    assert find(before, "PRE-5").outcome is Outcome.UNKNOWN


def test_migration_that_ended_does_not_ask():
    assert "no migration was still in pre-copy" in judge(good("multifd")).not_applicable["PRE-5"]


# -- what the source should have done ----------------------------------------------------


def test_source_that_has_little_pending_must_switch_over():
    finding = find(called_off(not_converging(pending=100)).history(), "PRE-5")
    assert finding.outcome is Outcome.VIOLATED
    assert "100 bytes pending, 5242880 allowed, and the source did not switch over" in (
        finding.sentence
    )
    assert [record.name for record in finding.evidence] == [EXACT, ALLOWED, "not_converged"]


@pytest.mark.parametrize("passes", [1, 9])
def test_little_pending_for_less_than_a_second_is_unknown(passes):
    life = called_off(not_converging(passes=passes, pending=100))
    assert verdict(life).outcome is Outcome.UNKNOWN


def test_pending_that_goes_up_and_down_is_unknown():
    life = not_converging(passes=25)
    life.at += 1
    late = not_converging(passes=1, pending=100)
    life.records += [msgspec.structs.replace(r, t_ns=r.t_ns + 10**10) for r in late.records[-3:]]
    life.at += 8 * 10**9
    assert verdict(called_off(life)).outcome is Outcome.UNKNOWN


def test_limit_that_was_lower_a_moment_ago_is_no_violation():
    life = not_converging(passes=25, pending=100)
    limits = [record for record in life.records if record.name == ALLOWED]
    low: Record[Any] = limits[-3]
    life.records[life.records.index(low)] = msgspec.structs.replace(
        low, args={**low.args, "size": 50}
    )
    assert verdict(called_off(life)).outcome is Outcome.UNKNOWN


def test_equal_is_not_below():
    life = called_off(not_converging(pending=5 << 20))
    assert verdict(life).outcome is Outcome.UNKNOWN


def test_source_that_waits_for_an_acknowledgement_is_unknown():
    life = called_off(not_converging(pending=100))
    life.scenario = msgspec.structs.replace(life.scenario, capabilities={"switchover-ack": True})
    finding = verdict(life)
    assert finding.outcome is Outcome.UNKNOWN
    assert "waits for its switchover-ack" in finding.sentence


def test_numbers_that_nobody_saw_are_unknown():
    for name in (EXACT, ALLOWED):
        names = (name,) if name == ALLOWED else (name, "migrate_pending_estimate")
        finding = find(without(good("not converging"), *names), "PRE-5")
        assert finding.outcome is Outcome.UNKNOWN
        assert "how much was pending" in finding.sentence


# -- the source's health -----------------------------------------------------------------


def test_source_whose_guest_does_not_run():
    finding = verdict(called_off(not_converging(), answer=STOPPED))
    assert finding.outcome is Outcome.VIOLATED
    assert "does not run" in finding.sentence


def test_source_that_nobody_asked_is_unknown():
    assert verdict(called_off(not_converging(), answer=None)).outcome is Outcome.UNKNOWN


def test_source_that_does_not_answer():
    life = called_off(not_converging())
    life.silent(SRC)
    finding = verdict(life)
    assert finding.outcome is Outcome.VIOLATED
    assert "does not answer" in finding.sentence


def test_source_that_dies_of_the_cancel():
    life = called_off(not_converging())
    life.died(SRC)
    assert find(life.history(), "PRE-5").outcome is Outcome.VIOLATED


def test_cancel_that_does_not_end_it():
    life = not_converging()
    life.put("harness", NotConverged(deadline_s=3.0))
    life.qmp(SRC, "migrate_cancel")
    life.status(SRC, "cancelling")
    alive = {"main_loop_alive": True, "monitor_alive": True}
    life.put(SRC, Hung(waiting_for="the end", backtrace="", **alive))
    finding = verdict(life)
    assert finding.outcome is Outcome.VIOLATED
    assert "could not be cancelled" in finding.sentence


def test_source_that_completes_instead_of_being_cancelled_is_judged_as_any():
    life = not_converging()
    life.put("harness", NotConverged(deadline_s=3.0))
    life.status(SRC, "completed")
    life.status(DST, "completed")
    assert verdict(life).outcome is not Outcome.VIOLATED
