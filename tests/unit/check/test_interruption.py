"""Actions that may stop a migration, and whether the guest runs on at the source."""

from typing import Any

import pytest

from harness.check import interruption, planned
from harness.check.evidence import Evidence, Seen
from harness.history.device import Arc
from harness.history.session import Continued
from harness.model.expectation import Ending, expect
from harness.scenario import Tls, TlsMismatch
from harness.scenario.action_plan import Execute, Storm, Target, Tell, status
from tests.unit.check.histories import completed, without
from tests.unit.check.lives import (
    CANCEL,
    CONT,
    KILL_DESTINATION,
    KILL_SOURCE,
    PAUSED,
    RUNNING,
    STOP,
    STOPPED,
    Life,
    cancelled,
    continued,
    reset,
    reset_destination,
)
from tests.unit.check.story import DST, FACTS, SRC, device, scenario

WHEN = status(Target.SOURCE, "active")


def checked(run) -> Evidence:
    return Evidence(Seen(run), expect(run.scenario, FACTS, FACTS))


@pytest.mark.parametrize("action", [CANCEL, KILL_SOURCE, KILL_DESTINATION])
def test_cancel_and_kill_may_stop_a_migration(action):
    assert interruption.may_stop(action)


@pytest.mark.parametrize(
    "action",
    [
        Execute(when=WHEN, target=Target.SOURCE, command="query-migrate"),
        Storm(when=WHEN, target=Target.SOURCE),
        Tell(when=WHEN, name="go"),
    ],
)
def test_other_actions_do_not(action):
    assert not interruption.may_stop(action)


def ending(run) -> Ending:
    evidence = checked(run)
    return interruption.as_it_may_end(evidence, evidence.expectation).ending


def test_run_that_was_cancelled_may_end_as_it_did():
    assert ending(cancelled().history()) is Ending.STOPPED


def test_cancel_that_was_not_done_excuses_nothing():
    life = Life(scenario(actions=(CANCEL,)))
    life.status(SRC, "failed")
    assert ending(life.history()) is Ending.COMPLETED


def test_run_that_completed_all_the_same_is_judged_as_one():
    run = completed(scenario(actions=(CANCEL,)))
    life = Life(run.scenario)
    life.records, life.at = list(run.records), run.records[-1].t_ns
    life.act()
    assert ending(life.history()) is Ending.COMPLETED


def test_migration_that_must_be_blocked_must_be_so_with_a_cancel_too():
    life = Life(scenario(device(stop_copy=False), actions=(CANCEL,)))
    life.act()
    assert ending(life.history()) is Ending.LAUNCH_REFUSED


def test_actions_that_were_done_come_with_their_records():
    life = Life(scenario(actions=(CANCEL, KILL_SOURCE)))
    life.act(1)
    ((action, record),) = planned.done(checked(life.history()))
    assert action is KILL_SOURCE
    assert record.name == "action"


def test_status_at_a_time_is_the_last_one_told_by_then():
    life = cancelled()
    (record,) = [record for record in life.records if record.name == "action"]
    run = checked(life.history())
    assert interruption.status_at(run, SRC, record.t_ns) == "active"
    assert interruption.status_at(run, SRC, 0) == ""


def test_migration_before_this_one():
    run = completed(scenario())
    assert interruption.continued_after(checked(run)) == ""
    assert interruption.continued_after(checked(continued(run, "failed"))) == "failed"


def test_source_that_runs_with_its_device_is_not_lost():
    life = cancelled()
    life.asked(SRC, RUNNING)
    assert interruption.lost(checked(life.history())) is None


def test_source_whose_guest_stands_still_is_lost():
    life = cancelled()
    life.asked(SRC, STOPPED)
    sentence, evidence = interruption.lost(checked(life.history()))
    assert sentence == "the source's guest does not run: finish-migrate"
    assert list[Any](evidence)[0].args["value"] == STOPPED


def test_source_whose_device_was_left_stopped_is_lost():
    life = cancelled()
    life.arc(SRC, "vfio0", "STOP")
    life.asked(SRC, RUNNING)
    sentence, evidence = interruption.lost(checked(life.history()))
    assert sentence == "vfio0 was left in STOP"
    assert evidence[0].name == "arc"


def test_what_a_device_does_when_its_qemu_quits_is_no_loss():
    life = cancelled()
    life.asked(SRC, RUNNING)
    life.qmp(SRC, "quit")
    life.arc(SRC, "vfio0", "STOP")
    assert interruption.lost(checked(life.history())) is None


def test_arc_that_the_device_refused_changes_nothing():
    life = cancelled()
    life.put(SRC, Arc(state="STOP", path=[], errno=22), "vfio0")
    assert interruption.lost(checked(life.history())) is None


def test_device_that_holds_the_source_s_bytes_is_whole():
    assert interruption.damaged(checked(completed(scenario()))) is None


@pytest.mark.parametrize(("missing", "difference"), [(1, -1), (0, 77)])
def test_device_that_holds_less_or_others_is_damaged(missing, difference):
    life = Life(scenario())
    life.received(4 * (1 << 20) - missing, difference)
    sentence, evidence = interruption.damaged(checked(life.history()))
    assert "vfio0 holds" in sentence
    assert evidence[0].name == "received"


def test_device_that_did_not_tell_is_not_known_to_be_whole():
    sentence, evidence = interruption.damaged(checked(without(completed(scenario()), "received")))
    assert sentence == "what vfio0 got is not known"
    assert not evidence


def test_side_that_hung_is_stuck_and_the_other_is_not():
    life = Life(scenario())
    life.hangs(DST)
    run = checked(life.history())
    assert [record.name for record in interruption.stuck(run, DST)] == ["deadline", "hung"]
    assert not interruption.stuck(run, SRC)


@pytest.mark.parametrize(
    ("status", "main_loop_alive", "is_stuck"),
    [("failed", True, False), ("failed", False, True), ("active", True, True)],
)
def test_side_that_has_ended_and_answers_is_not_the_one_that_hung(
    status, main_loop_alive, is_stuck
):
    """A hang of one side is recorded of both."""
    life = Life(scenario())
    life.status(SRC, status)
    life.hangs(DST)
    life.hangs(SRC, main_loop_alive=main_loop_alive)
    run = checked(life.history())
    assert bool(interruption.stuck(run, SRC)) is is_stuck
    assert interruption.stuck(run, DST)


def test_question_without_an_answer_is_silence_and_an_error_is_none():
    life = cancelled()
    life.asked(SRC)
    assert not interruption.silent(checked(life.history()), SRC)
    life.qmp(SRC, "query-status", error="no")
    assert not interruption.silent(checked(life.history()), SRC)
    life.silent(SRC)
    (record,) = interruption.silent(checked(life.history()), SRC)
    assert record.name == "execute"


@pytest.mark.parametrize(("side", "is_silent"), [(SRC, False), (DST, True)])
def test_side_that_was_killed_owes_no_answer(side, is_silent):
    life = Life(scenario(actions=(KILL_SOURCE,)))
    life.act()
    life.silent(side)
    assert bool(interruption.silent(checked(life.history()), side)) is is_silent


def test_end_is_the_last_status_and_of_a_side_that_hung_the_one_by_the_deadline():
    life = cancelled()
    assert checked(life.history()).endings.status(SRC) == "cancelled"
    life = Life(scenario())
    life.hangs(SRC)
    life.status(SRC, "failed")
    assert checked(life.history()).endings.status(SRC) == "active"
    assert checked(life.history()).endings.status(DST) == ""


# -- a guest's reset that ends a transfer -------------------------------------------------


@pytest.mark.parametrize("state", ["PRE_COPY", "PRE_COPY_P2P", "STOP_COPY"])
def test_reset_takes_a_device_out_of_its_transfer(state):
    run = reset(state).history()
    found = interruption.reset_in_transfer(checked(run))
    assert found is not None
    words, records = found
    assert words == f"the guest was reset while vfio0 was in {state}"
    assert [record.name for record in records] == ["arc", "reset", "RESET", "read"]
    assert ending(run) is Ending.STOPPED


@pytest.mark.parametrize("state", ["RUNNING", "STOP", "RESUMING"])
def test_reset_of_a_device_that_transfers_nothing_ends_nothing(state):
    assert ending(reset(state).history()) is Ending.COMPLETED


def test_device_that_qemu_resets_by_itself_excuses_nothing():
    assert ending(reset(event=False).history()) is Ending.COMPLETED


def test_reset_that_did_no_harm_owes_a_whole_state():
    life = reset()
    life.status(SRC, "completed")
    life.status(DST, "completed")
    assert ending(life.history()) is Ending.COMPLETED


def test_reset_at_the_destination_takes_a_device_out_of_its_load():
    run = reset_destination().history()
    found = interruption.reset_in_transfer(checked(run))
    assert found is not None
    words, records = found
    assert words == "the destination's guest was reset while vfio0 was in RESUMING"
    assert [record.name for record in records] == ["arc", "reset", "RESET", "write"]
    assert ending(run) is Ending.STOPPED


def test_device_that_was_reset_is_running():
    life = reset()
    life.asked(SRC)
    assert interruption.lost(checked(life.history())) is None


# -- a guest that the scenario pauses ------------------------------------------------------


def paused(*actions, done=(), **fields):
    life = Life(scenario(actions=actions, **fields))
    for position in done:
        life.act(position)
    return life


HMP_STOP = Execute(
    when=WHEN,
    target=Target.DESTINATION,
    command="human-monitor-command",
    arguments={"command-line": "stop"},
)


@pytest.mark.parametrize(
    ("actions", "done", "is_paused"),
    [
        ((), (), False),
        ((STOP,), (), False),
        ((STOP,), (0,), True),
        ((STOP, CONT), (0, 1), False),
        ((STOP, CONT), (0,), True),
        ((HMP_STOP,), (0,), True),
        ((HMP_STOP, CONT), (0, 1), True),
        ((CANCEL,), (0,), False),
    ],
)
def test_guest_is_paused_where_the_scenario_has_paused_it_last(actions, done, is_paused):
    """Wrong if a pause that was not done excuses a source that stays stopped."""
    life = paused(*actions, done=done)
    life.asked(SRC, PAUSED)
    run = checked(life.history())
    assert interruption.is_paused(run) is is_paused
    assert (interruption.lost(run) is None) is is_paused
    assert interruption.is_seen_paused(run, SRC) is is_paused


def test_guest_that_was_to_be_paused_and_runs_is_not_seen_paused():
    life = paused(STOP, done=(0,))
    life.asked(SRC)
    assert not interruption.is_seen_paused(checked(life.history()), SRC)
    assert not interruption.is_seen_paused(checked(life.history()), DST)


@pytest.mark.parametrize("is_paused", [True, False])
def test_guest_that_came_paused_from_the_migration_before(is_paused):
    life = paused()
    life.put("harness", Continued(after="completed", is_paused=is_paused))
    assert interruption.is_paused(checked(life.history())) is is_paused


# -- what actions do to a migration --------------------------------------------------------


def does(command):
    return Execute(when=WHEN, target=Target.SOURCE, command=command)


@pytest.mark.parametrize(
    ("command", "stops"),
    [("migrate_cancel", True), ("quit", True), ("system_reset", False), ("stop", False)],
)
def test_commands_that_may_stop_a_migration(command, stops):
    assert interruption.may_stop(does(command)) is stops


def test_action_that_stops_a_handshake_leaves_nothing_to_refuse():
    """Without the action the handshake must be refused."""
    life = Life(scenario(actions=(CANCEL,), tls=Tls.PSK, tls_mismatch=TlsMismatch.KEY), ("setup",))
    assert ending(life.history()) is Ending.HANDSHAKE_REFUSED
    life.act()
    life.cancelled()
    assert ending(life.history()) is Ending.STOPPED


@pytest.mark.parametrize(("target", "is_one"), [(Target.SOURCE, True), (Target.DESTINATION, False)])
def test_cancel_of_the_destination_cancels_nothing(target, is_one):
    cancel = Execute(when=WHEN, target=target, command="migrate_cancel")
    assert interruption.is_cancel(cancel) is is_one
    assert interruption.may_stop(cancel) is is_one


def test_command_that_must_be_refused_is_not_asked_about_unless_it_is_done():
    refused = Execute(
        when=WHEN, target=Target.SOURCE, command="migrate_cancel", refused_with="not now"
    )
    life = paused(refused)
    assert not interruption.is_asked(checked(life.history()), interruption.is_cancel)
    life.act()
    assert interruption.is_asked(checked(life.history()), interruption.is_cancel)
    assert interruption.is_asked(checked(paused(CANCEL).history()), interruption.is_cancel)
