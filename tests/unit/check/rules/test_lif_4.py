"""LIF-4: after a cancel the source runs on, and a second migration completes."""

import pytest

from harness.check.judge import judge
from harness.check.rules.lif_4 import RULE
from harness.check.verdict import Outcome
from harness.history import Kind
from harness.history.session import ActionEnded, Faults
from harness.scenario.fault_plan import Hold, Until
from tests.unit.check.histories import completed, find, without
from tests.unit.check.lives import CANCEL, CONT, PAUSED, STOP, STOPPED, Life, cancelled, continued
from tests.unit.check.story import DST, SRC, device, scenario


def verdict(life: Life):
    life.quit(SRC)
    life.quit(DST)
    return find(life.history(), "LIF-4")


def test_cancelled_source_that_runs_on():
    life = cancelled()
    life.asked(SRC)
    finding = verdict(life)
    assert finding.outcome is Outcome.VALID
    assert finding.numbers == {"at": "active", "too_late": False}


def test_without_a_cancel_it_is_not_asked():
    assert judge(completed(scenario())).not_applicable["LIF-4"] == "the migration was not cancelled"


def test_cancel_whose_moment_did_not_come_is_unknown():
    finding = find(completed(scenario(actions=(CANCEL,))), "LIF-4")
    assert finding.outcome is Outcome.UNKNOWN
    assert finding.sentence == "no cancel was done, though it was planned"


def test_cancel_that_came_too_late_changes_nothing():
    run = completed(scenario(actions=(CANCEL,)))
    late = Life(run.scenario)
    late.at = run.records[-1].t_ns
    late.records = list(run.records)
    late.act()
    finding = find(late.history(), "LIF-4")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers == {"at": "completed", "too_late": True}


@pytest.mark.parametrize("status", ["failing", "failed"])
def test_cancel_of_what_has_failed_changes_nothing(status):
    life = Life(scenario(actions=(CANCEL,)), ("setup", "active", status))
    life.act()
    life.status(SRC, "failed")
    life.status(DST, "failed")
    life.asked(SRC)
    finding = verdict(life)
    assert finding.outcome is Outcome.VALID
    assert finding.numbers == {"at": status, "too_late": True}


def test_guest_that_runs_twice():
    life = cancelled()
    life.add(DST, Kind.QMP, "RESUME")
    life.status(DST, "completed")
    life.asked(SRC)
    finding = verdict(life)
    assert finding.outcome is Outcome.VIOLATED
    assert "the guest runs twice" in finding.sentence
    assert [record.name for record in finding.evidence] == [
        "action", "MIGRATION", "MIGRATION", "return",
    ]  # fmt: skip


def test_source_that_stays_stopped():
    life = cancelled()
    life.asked(SRC, STOPPED)
    finding = verdict(life)
    assert finding.outcome is Outcome.VIOLATED
    assert "the source's guest does not run: finish-migrate" in finding.sentence


def test_device_that_stays_stopped():
    life = cancelled()
    life.arc(SRC, "vfio0", "STOP_COPY")
    life.asked(SRC)
    finding = verdict(life)
    assert finding.outcome is Outcome.VIOLATED
    assert "vfio0 was left in STOP_COPY" in finding.sentence


def test_cancel_that_is_told_as_a_failure():
    life = Life(scenario(actions=(CANCEL,)))
    life.act()
    life.status(SRC, "failed")
    life.status(DST, "failed")
    life.asked(SRC)
    finding = verdict(life)
    assert finding.outcome is Outcome.VIOLATED
    assert "reports that the migration failed" in finding.sentence


@pytest.mark.parametrize(
    ("alive", "words"), [(True, ""), (False, ", and its main loop is blocked")]
)
def test_source_that_does_not_end(alive, words):
    life = Life(scenario(actions=(CANCEL,)))
    life.act()
    life.status(SRC, "cancelling")
    life.hangs(SRC, main_loop_alive=alive)
    finding = verdict(life)
    assert finding.outcome is Outcome.VIOLATED
    assert f"did not end: its status is cancelling{words}" in finding.sentence
    assert finding.evidence[-1].name == "hung"


def test_what_a_source_says_after_the_deadline_comes_too_late():
    life = Life(scenario(actions=(CANCEL,)))
    life.act()
    life.status(SRC, "cancelling")
    life.hangs(SRC, main_loop_alive=False)
    life.status(SRC, "cancelled")
    finding = verdict(life)
    assert finding.outcome is Outcome.VIOLATED
    assert "did not end: its status is cancelling" in finding.sentence


def test_source_that_dies():
    life = cancelled()
    life.died(SRC)
    life.quit(DST)
    finding = find(life.history(), "LIF-4")
    assert finding.outcome is Outcome.VIOLATED
    assert "its QEMU ended" in finding.sentence


def test_source_that_nobody_asked_is_unknown():
    finding = verdict(cancelled())
    assert finding.outcome is Outcome.UNKNOWN
    assert "was not checked" in finding.sentence


def test_source_that_does_not_answer():
    life = cancelled()
    life.silent(SRC)
    finding = verdict(life)
    assert finding.outcome is Outcome.VIOLATED
    assert finding.sentence == "the source's status is cancelled, and it does not answer"


def test_source_that_told_no_end_is_unknown():
    life = Life(scenario(actions=(CANCEL,)))
    life.act()
    assert verdict(life).outcome is Outcome.UNKNOWN


# -- the migration after it ---------------------------------------------------------------


def test_second_migration_that_completes():
    finding = find(continued(completed(scenario()), "cancelled"), "LIF-4")
    assert finding.outcome is Outcome.VALID


def test_second_migration_that_fails():
    life = Life(scenario(device()))
    life.status(SRC, "failed")
    life.status(DST, "failed")
    life.quit(SRC)
    life.quit(DST)
    finding = find(continued(life.history(), "cancelled"), "LIF-4")
    assert finding.outcome is Outcome.VIOLATED
    assert "the source's status is failed, the destination's failed" in finding.sentence


def test_second_migration_that_loses_bytes():
    run = without(completed(scenario()), "received")
    life = Life(run.scenario)
    life.records, life.at = list(run.records), run.records[-1].t_ns
    life.received(5)
    finding = find(continued(life.history(), "cancelled"), "LIF-4")
    assert finding.outcome is Outcome.VIOLATED
    assert "vfio0 holds 5 of" in finding.sentence


def test_second_migration_whose_device_told_nothing_is_unknown():
    run = without(completed(scenario()), "received")
    assert find(continued(run, "cancelled"), "LIF-4").outcome is Outcome.UNKNOWN


# -- only what was seen --------------------------------------------------------------------


def test_title_and_words_claim_no_second_migration_where_there_was_none():
    life = cancelled()
    life.asked(SRC)
    assert "second" not in verdict(life).sentence
    assert "second" not in RULE.title


def test_paused_source_need_not_run():
    life = Life(scenario(actions=(CANCEL, STOP)))
    life.act(1)
    life.act(0)
    life.cancelled()
    life.asked(SRC, PAUSED)
    finding = verdict(life)
    assert finding.outcome is Outcome.VALID
    assert finding.sentence == "the source cancelled and has its guest, paused"


def test_paused_guest_at_both_sides_does_not_run_twice():
    life = Life(scenario(actions=(CANCEL, STOP)))
    life.act(1)
    life.act(0)
    life.status(SRC, "cancelling", "cancelled")
    life.status(DST, "active", "completed")
    life.asked(SRC, PAUSED)
    assert verdict(life).outcome is Outcome.UNKNOWN


def there(status: str, *, holds: bool = False, main_loop_alive: bool = True):
    """The source was cancelled, and the destination did not end."""
    life = Life(scenario(actions=(CANCEL,), faults=(Hold(until=Until(delay_s=60)),)))
    life.act()
    life.status(SRC, "cancelling", "cancelled")
    if status:
        life.status(DST, status)
    life.hangs(DST, main_loop_alive=main_loop_alive)
    life.asked(SRC)
    life.put("harness", Faults(fired=[1], holding=[holds]))
    return verdict(life)


@pytest.mark.parametrize(
    ("status", "fields", "outcome", "words"),
    [
        ("active", {"holds": True}, Outcome.VALID, "waits for what the relay holds back: hold"),
        ("active", {}, Outcome.UNKNOWN, "the destination did not end: the reason is not known"),
        (
            "setup",
            {},
            Outcome.VALID,
            "no source had connected to the destination, which is still listening",
        ),
        (
            "",
            {},
            Outcome.VALID,
            "no source had connected to the destination, which is still listening",
        ),
        ("setup", {"main_loop_alive": False}, Outcome.UNKNOWN, "the destination did not end"),
    ],
)
def test_destination_that_did_not_end_is_said_or_unknown(status, fields, outcome, words):
    finding = there(status, **fields)
    assert finding.outcome is outcome
    assert words in finding.sentence


def test_cancel_that_qemu_refused_is_none():
    """Wrong if LIF-4 is valid, or blames QEMU, for a cancel that there was not."""
    life = Life(scenario(actions=(CANCEL,)))
    life.act()
    refused = ActionEnded(position=0, how="refused", desc="no", error_class="GenericError")
    life.put("harness", refused)
    life.status(SRC, "failed")
    life.asked(SRC, STOPPED)
    assert verdict(life).outcome is Outcome.UNKNOWN


def test_second_migration_that_a_refused_action_left_open_is_unknown():
    life = Life(scenario(actions=(CONT,)))
    life.act()
    life.put("harness", ActionEnded(position=0, how="lost"))
    life.hangs(DST)
    life.quit(SRC)
    life.quit(DST)
    finding = find(continued(life.history(), "cancelled"), "LIF-4")
    assert finding.outcome is Outcome.UNKNOWN
    assert "there was no QEMU to take it" in finding.sentence


def test_second_cancel_is_none_of_a_migration_that_must_complete():
    life = cancelled()
    life.asked(SRC)
    life.asked(DST, {"status": "inmigrate", "running": False})
    life.quit(SRC)
    life.quit(DST)
    finding = find(continued(life.history(), "cancelled"), "LIF-4")
    assert finding.outcome is Outcome.VALID
    assert finding.sentence == "the source cancelled and runs on"
