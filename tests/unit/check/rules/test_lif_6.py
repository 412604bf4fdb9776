"""LIF-6: a storm of commands while state is loaded deadlocks nothing."""

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history import Side
from harness.history.records import Kind, Record
from harness.history.session import ActionEnded
from tests.unit.check.histories import changed, completed, find
from tests.unit.check.lives import CANCEL, KILL_DESTINATION, STORM, Life, stormy
from tests.unit.check.story import DST, SRC, scenario

STORMY = scenario(actions=(STORM,))


def storm(**how: bool):
    return stormy(completed(STORMY), **how)


def test_every_command_is_answered():
    finding = find(storm(), "LIF-6")
    assert finding.outcome is Outcome.VALID
    # query-status is also asked once by the harness itself, when all is loaded.
    assert finding.numbers == {"commands": 4, "before_all_was_loaded": 3}


def test_without_a_storm_it_is_not_asked():
    assert judge(completed(scenario())).not_applicable["LIF-6"] == "there was no storm of commands"


def test_storm_whose_moment_did_not_come_is_unknown():
    assert find(completed(STORMY), "LIF-6").sentence == "the moment for the storm did not come"


def test_storm_after_the_load_met_nothing():
    finding = find(storm(is_early=False), "LIF-6")
    assert finding.outcome is Outcome.UNKNOWN
    assert finding.sentence == "no command was sent during the load"


def test_command_that_is_not_answered():
    finding = find(storm(is_answered=False), "LIF-6")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.sentence == "the destination did not answer query-pci 3 times"
    assert finding.evidence[-1].name == "execute"


def test_command_that_a_planned_end_leaves_unanswered():
    life = Life(scenario(actions=(STORM, KILL_DESTINATION)))
    life.act()
    life.add(DST, Kind.QMP, "execute", command="query-pci", arguments={})
    life.act(1)
    life.killed(DST)
    life.status(SRC, "failed")
    life.quit(SRC)
    finding = find(life.history(), "LIF-6")
    assert finding.outcome is Outcome.UNKNOWN
    assert finding.sentence == "the scenario has ended the destination in the storm"


def test_error_is_an_answer():
    run = storm()
    records = [
        Record(r.t_ns, r.side, r.kind, "error", {"command": "query-pci", "desc": "no"})
        if r.name == "return" and r.args["command"] == "query-pci"
        else r
        for r in run.records
    ]
    assert find(changed(run, records), "LIF-6").outcome is Outcome.VALID


def storm_with(refused):
    run = storm()
    began = next(record for record in run.records if record.name == "action")
    args = ActionEnded(position=0, how="done", sent=3, refused=refused)
    end = Record.of(run.records[-1].t_ns, Side.HARNESS, args)
    assert end.t_ns > began.t_ns
    return find(changed(run, [*run.records, end]), "LIF-6")


def test_storm_of_refused_commands_met_nothing():
    """Wrong the other way round: one that is accepted meets the load."""
    refused = dict.fromkeys(STORM.commands, "CommandNotFound: no")
    assert storm_with(refused).outcome is Outcome.UNKNOWN
    del refused["query-pci"]
    assert storm_with(refused).outcome is Outcome.VALID


def test_migration_that_the_scenario_cancels_need_not_complete_in_a_storm():
    life = Life(scenario(actions=(STORM, CANCEL)))
    life.act()
    life.act(1)
    life.cancelled()
    life.asked(SRC)
    life.quit(SRC)
    life.quit(DST)
    finding = find(life.history(), "LIF-6")
    assert finding.outcome is Outcome.UNKNOWN
    assert "stopped by an action" in finding.sentence


def failing() -> Life:
    life = Life(STORMY)
    life.act()
    life.trace(DST, "vfio_load_bufs_thread_start", "vfio0")
    return life


def test_side_that_stands_still():
    life = failing()
    life.hangs(DST, main_loop_alive=False)
    life.quit(SRC)
    life.quit(DST)
    finding = find(life.history(), "LIF-6")
    assert finding.outcome is Outcome.VIOLATED
    assert "was blocked" in finding.sentence


def test_migration_that_does_not_complete():
    life = failing()
    life.status(SRC, "failed")
    life.status(DST, "failed")
    life.quit(SRC)
    life.quit(DST)
    finding = find(life.history(), "LIF-6")
    assert finding.outcome is Outcome.VIOLATED
    assert "did not complete" in finding.sentence
