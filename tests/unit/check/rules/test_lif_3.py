"""LIF-3: when one QEMU is killed, the other one ends its migration, or runs on."""

import pytest

from harness.check.evidence import STARVED
from harness.check.hang import RECV_END
from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history import Kind, Side
from harness.history.session import ActionEnded, Faults
from harness.scenario.action_plan import Execute, Target, status
from harness.scenario.fault_plan import Hold, Until
from tests.unit.check.histories import completed, find
from tests.unit.check.lives import KILL_DESTINATION, KILL_SOURCE, PAUSED, STOP, STOPPED, Life
from tests.unit.check.story import DST, SRC, scenario

SIZE = 4 << 20


def killed(side, *reached: str, **fields) -> Life:
    """``side`` was killed; what the other one does is the test's."""
    action = KILL_SOURCE if side is SRC else KILL_DESTINATION
    life = Life(scenario(actions=(action,), **fields), reached or ("setup", "active"))
    life.act()
    life.killed(side)
    return life


def verdict(life: Life, *quits):
    for side in quits:
        life.quit(side)
    return find(life.history(), "LIF-3")


def test_source_that_runs_on():
    life = killed(DST)
    life.status(SRC, "failed")
    life.asked(SRC)
    finding = verdict(life, SRC)
    assert finding.outcome is Outcome.VALID
    assert finding.sentence == "the source failed the migration and runs on"
    assert finding.numbers == {"at": "active"}


def test_destination_that_fails_and_answers():
    life = killed(SRC)
    life.status(DST, "active", "failed")
    life.asked(DST, {"status": "inmigrate", "running": False})
    assert verdict(life, DST).sentence == "the destination failed, and answers"


def test_destination_that_fails_and_exits():
    life = killed(SRC)
    life.status(DST, "active", "failed")
    life.died(DST, signal=0, status=1)
    finding = verdict(life)
    assert finding.outcome is Outcome.VALID
    assert finding.sentence == "the destination failed and exited"


def test_destination_that_had_everything_runs_on():
    life = killed(SRC, "setup", "active", "device")
    life.status(DST, "active", "completed")
    life.received(SIZE)
    assert (
        verdict(life, DST).sentence == "the destination had received all of the guest, and runs it"
    )


def test_destination_to_which_nobody_came_listens():
    life = killed(SRC, "setup")
    life.status(DST, "setup")
    life.hangs(DST)
    finding = verdict(life, DST)
    assert finding.outcome is Outcome.VALID
    assert "it is still listening" in finding.sentence


def test_without_a_kill_it_is_not_asked():
    assert judge(completed(scenario())).not_applicable["LIF-3"] == "no QEMU was killed"


def test_kill_whose_moment_did_not_come_is_unknown():
    finding = find(completed(scenario(actions=(KILL_SOURCE,))), "LIF-3")
    assert finding.sentence == "no QEMU was killed, though it was planned"


def test_two_kills_leave_nobody_to_judge():
    life = Life(scenario(actions=(KILL_SOURCE, KILL_DESTINATION)))
    for position, side in enumerate((SRC, DST)):
        life.act(position)
        life.killed(side)
    assert verdict(life).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(("side", "signal", "status"), [(SRC, 6, -1), (SRC, 0, 1), (DST, 11, -1)])
def test_survivor_that_dies(side, signal, status):
    life = killed(DST if side is SRC else SRC)
    life.died(side, signal, status)
    finding = verdict(life)
    assert finding.outcome is Outcome.VIOLATED
    assert f"{side}'s QEMU died" in finding.sentence
    assert finding.evidence[-1].name == "exited"


def test_source_that_does_not_end():
    life = killed(DST)
    life.hangs(SRC)
    finding = verdict(life, SRC)
    assert finding.outcome is Outcome.VIOLATED
    assert "the source did not end: its status is active" in finding.sentence


CONTINUE = Execute(
    when=status(Target.SOURCE, "pre-switchover"), target=Target.SOURCE, command="migrate-continue"
)


@pytest.mark.parametrize(
    ("is_continued", "main_loop_alive", "outcome"),
    [
        (False, True, Outcome.UNKNOWN),
        (True, True, Outcome.VIOLATED),
        (False, False, Outcome.VIOLATED),
    ],
)
def test_source_in_pre_switchover_ends_once_it_is_let_go_on(is_continued, main_loop_alive, outcome):
    life = Life(
        scenario(
            actions=(KILL_DESTINATION, CONTINUE), capabilities={"pause-before-switchover": True}
        ),
        ("setup", "active", "pre-switchover"),
    )
    life.act()
    life.killed(DST)
    if is_continued:
        life.act(1)
    life.hangs(SRC, main_loop_alive=main_loop_alive)
    assert verdict(life, SRC).outcome is outcome


def test_source_that_told_no_end_is_unknown():
    assert verdict(killed(DST), SRC).outcome is Outcome.UNKNOWN


def test_source_that_stays_stopped():
    life = killed(DST)
    life.status(SRC, "failed")
    life.asked(SRC, STOPPED)
    finding = verdict(life, SRC)
    assert finding.outcome is Outcome.VIOLATED
    assert "the source's guest does not run" in finding.sentence


def test_source_that_nobody_asked_is_unknown():
    life = killed(DST)
    life.status(SRC, "failed")
    assert verdict(life, SRC).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("return_path", "outcome"), [(True, Outcome.VIOLATED), (False, Outcome.VALID)]
)
def test_source_that_completes_what_nobody_got(return_path, outcome):
    life = killed(DST, "setup", "active", "device", return_path=return_path)
    life.status(SRC, "completed")
    assert verdict(life, SRC).outcome is outcome


def test_source_whose_destination_had_the_guest_has_completed():
    life = killed(DST, "setup", "active", "device")
    life.add(DST, Kind.QMP, "RESUME")
    life.status(SRC, "completed")
    assert verdict(life, SRC).outcome is Outcome.VALID


@pytest.mark.parametrize("alive", [True, False])
def test_destination_that_waits_for_a_dead_source(alive):
    life = killed(SRC)
    life.status(DST, "active")
    life.hangs(DST, main_loop_alive=alive)
    finding = verdict(life, DST)
    assert finding.outcome is Outcome.VIOLATED
    assert ("main loop is blocked" in finding.sentence) is not alive


def test_destination_whose_load_thread_waits_has_a_shape_of_its_own():
    life = killed(SRC, "setup", "active", "device")
    life.status(DST, "active")
    life.trace(DST, STARVED, "vfio0", idx=1)
    for number in range(4):
        life.trace(DST, RECV_END, id=number, packets=1)
    life.hangs(DST, main_loop_alive=False)
    finding = verdict(life, DST)
    assert finding.shape == "load-thread-waits-after-kill"
    assert "waits for packet 1, though channel 0, 1, 2, 3 ended" in finding.sentence


def test_listening_destination_whose_main_loop_stands_still():
    life = killed(SRC, "setup")
    life.status(DST, "setup")
    life.hangs(DST, main_loop_alive=False)
    assert verdict(life, DST).outcome is Outcome.VIOLATED


def test_destination_that_completes_with_bytes_missing():
    life = killed(SRC)
    life.status(DST, "active", "completed")
    life.received(7)
    finding = verdict(life, DST)
    assert finding.outcome is Outcome.VIOLATED
    assert "vfio0 holds 7 of" in finding.sentence


def test_destination_that_told_nothing_is_unknown():
    life = killed(SRC)
    assert verdict(life, DST).outcome is Outcome.UNKNOWN
    life = killed(SRC)
    life.status(DST, "completed")
    assert verdict(life, DST).sentence == "what vfio0 got is not known"
    life = killed(SRC)
    life.status(DST, "failed")
    assert "was not checked" in verdict(life, DST).sentence


@pytest.mark.parametrize("side", [SRC, DST])
def test_survivor_that_fails_and_does_not_answer(side):
    life = killed(DST if side is SRC else SRC)
    life.status(side, "failed")
    life.silent(side)
    finding = verdict(life, side)
    assert finding.outcome is Outcome.VIOLATED
    assert "does not answer" in finding.sentence
    assert finding.evidence[-1].args["command"] == "query-status"


def test_what_a_survivor_says_after_the_deadline_comes_too_late():
    life = killed(DST)
    life.hangs(SRC, main_loop_alive=False)
    life.status(SRC, "failed")
    assert "the source did not end: its status is active" in verdict(life, SRC).sentence


# -- a guest that is paused, a QEMU that is told to quit, a relay that keeps back ------------


def test_source_whose_guest_was_paused_need_not_run():
    life = Life(scenario(actions=(KILL_DESTINATION, STOP)))
    life.act(1)
    life.act(0)
    life.killed(DST)
    life.status(SRC, "failed")
    life.asked(SRC, PAUSED)
    finding = verdict(life, SRC)
    assert finding.outcome is Outcome.VALID
    assert finding.sentence == "the source failed the migration and has its guest, paused"


def test_paused_guest_that_arrived_is_not_said_to_run():
    life = Life(scenario(actions=(KILL_SOURCE, STOP)))
    life.act(1)
    life.act(0)
    life.killed(SRC)
    life.status(DST, "active", "completed")
    life.received(SIZE)
    life.asked(DST, PAUSED)
    finding = verdict(life, DST)
    assert finding.sentence == "the destination had received all of the guest, and has it, paused"


def leaves(target: Target, *reached: str) -> Life:
    """``target`` quits as planned; what the other one does is the test's."""
    action = Execute(when=status(Target.SOURCE, "active"), target=target, command="quit")
    life = Life(scenario(actions=(action,)), reached or ("setup", "active"))
    life.act()
    life.died(Side(target), signal=0, status=0)
    return life


def test_planned_quit_leaves_the_other_side_as_a_kill_does():
    life = leaves(Target.DESTINATION)
    life.status(SRC, "failed")
    life.asked(SRC)
    assert verdict(life, SRC).outcome is Outcome.VALID
    life = leaves(Target.DESTINATION)
    life.status(SRC, "failed")
    life.asked(SRC, STOPPED)
    finding = verdict(life, SRC)
    assert finding.outcome is Outcome.VIOLATED
    assert finding.sentence.startswith("the destination quit as planned, and the source's guest")


def test_planned_quit_of_the_source_is_no_finding_of_run():
    life = leaves(Target.SOURCE)
    life.status(DST, "active", "failed")
    life.asked(DST, {"status": "inmigrate", "running": False})
    life.quit(DST)
    assert find(life.history(), "LIF-3").outcome is Outcome.VALID
    assert find(life.history(), "RUN").outcome is Outcome.VALID


@pytest.mark.parametrize(("holds", "outcome"), [(True, Outcome.UNKNOWN),
                                                (False, Outcome.VIOLATED)])  # fmt: skip
def test_destination_that_waits_for_what_the_relay_keeps_back(holds, outcome):
    """Wrong if a relay that keeps nothing back excuses a destination that does not end."""
    life = killed(SRC, faults=(Hold(until=Until(delay_s=60)),))
    life.status(DST, "active")
    life.hangs(DST)
    life.put("harness", Faults(fired=[1], holding=[holds]))
    finding = verdict(life, DST)
    assert finding.outcome is outcome
    assert ("hold every packet for 60 s" in finding.sentence) is holds


def test_kill_of_a_qemu_that_was_gone_is_none():
    life = Life(scenario(actions=(KILL_DESTINATION,)))
    life.act()
    life.put("harness", ActionEnded(position=0, how="lost"))
    life.status(SRC, "failed")
    life.asked(SRC, STOPPED)
    assert verdict(life, SRC, DST).outcome is Outcome.UNKNOWN
