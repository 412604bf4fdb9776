"""What was planned and did not happen is named; what happened is not.

It is wrong if a run whose plan did not happen is valid, and if one is UNKNOWN whose plan did.
"""

import errno
from typing import Any

import pytest

from harness.check import planned
from harness.check.evidence import Evidence, Seen
from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history import Record, session
from harness.history import device as on_device
from harness.history.device import PrecopyChanged, Read, Write
from harness.history.records import Side
from harness.history.session import ActionEnded, Actions, Faults, NotContinued
from harness.model.expectation import expect
from harness.scenario import DataPath, Lie, LoadBehaviour, SaveBehaviour
from harness.scenario.action_plan import Execute, Kill, Storm, Target, Tell, When, status
from harness.scenario.devices import VfioUserDevice
from harness.scenario.fault_plan import Duplicate, Flip, Hold, Select, StallMain, Until
from harness.scenario.misreports import Misreport, Query
from harness.scenario.precopy import PrecopyChange
from harness.scenario.vfio_user import ServerDoes, ServerFault
from tests.unit.check.histories import changed, completed, find, refused
from tests.unit.check.lives import CANCEL, KILL_SOURCE, Life, added
from tests.unit.check.misreported import misreporting, with_sizes
from tests.unit.check.story import DST, FACTS, SRC, device, scenario
from tests.unit.check.written import with_dma, writing

NOT_FOUND = {
    "how": "refused",
    "error_class": "CommandNotFound",
    "desc": "The command x was not found",
}
ACTIVE = status(Target.SOURCE, "active")
ASKS = Execute(when=ACTIVE, target=Target.SOURCE, command="query-status")


def checked(run) -> Evidence:
    return Evidence(Seen(run), expect(run.scenario, FACTS, FACTS))


def acted(action, *results, run=None):
    """A run that completes, in which ``action`` came to these results; none: it was begun."""
    run = run or completed(scenario(actions=(action,)))
    at = run.records[len(run.records) // 2].t_ns
    begun = Record.of(at, Side.HARNESS, session.Action(action="", position=0))
    ended = [
        Record.of(at + 1, Side.HARNESS, session.ActionEnded(position=0, **each)) for each in results
    ]
    return added(run, begun, *ended)


def expects(words: str | None) -> Execute:
    return Execute(when=ACTIVE, target=Target.SOURCE, command="x", refused_with=words)


# -- actions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "result", "why"),
    [
        (ASKS, {"how": "done"}, ""),
        (ASKS, NOT_FOUND, "QEMU refused it: CommandNotFound: The command x was not found"),
        (ASKS, {"how": "unanswered"}, "QEMU did not answer"),
        (ASKS, {"how": "lost"}, "there was no QEMU to take it"),
        (KILL_SOURCE, {"how": "lost"}, "there was no QEMU to take it"),
        (expects("NotFound"), NOT_FOUND, ""),
        (expects(""), NOT_FOUND, ""),
        (expects("x was .* found"), NOT_FOUND, ""),
        (expects("busy"), NOT_FOUND, "QEMU refused it with another error than planned: Command"),
        (expects(""), {"how": "done"}, "QEMU accepted it"),
    ],
)
def test_result_of_an_action_is_as_planned_or_named(action, result, why):
    missed = planned.missed(checked(acted(action, result)))
    if not why:
        assert missed == ""
    else:
        prefix = "actions of the plan were not done as planned: "
        assert missed.startswith(f"{prefix}{action.describe()}: {why}")


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ({"sent": 9, "refused": {}}, ""),
        ({"sent": 0, "refused": {}}, "no command was sent"),
        ({"sent": 9, "refused": {"y": "CommandNotFound: no"}}, "QEMU refused y: CommandNotFound"),
    ],
)
def test_storm_sends_its_commands_or_is_named(result, why):
    storm = Storm(when=ACTIVE, target=Target.SOURCE, commands=("query-status", "y"))
    missed = planned.missed(checked(acted(storm, {"how": "done", **result})))
    assert bool(missed) is bool(why)
    assert why in missed


def test_action_that_began_and_whose_result_is_not_recorded_counts_as_done():
    assert planned.missed(checked(acted(ASKS))) == ""


def test_action_whose_moment_did_not_come_is_named():
    run = completed(scenario(actions=(ASKS,)))
    actions = Record.of(run.records[-1].t_ns, Side.HARNESS, Actions(done=[False]))
    missed = planned.missed(checked(added(run, actions)))
    assert missed.endswith("query-status to the source at source MIGRATION status=active: "
                           "its moment did not come")  # fmt: skip


def test_action_that_was_never_started_is_named_and_the_run_is_unknown():
    run = completed(scenario(actions=(ASKS,)))
    assert planned.missed(checked(run)).endswith(": it was never started")
    verdict = judge(run)
    assert verdict.overall is Outcome.UNKNOWN
    assert verdict.finding("ORD-1").outcome is Outcome.VALID, "it rests on records of its own"


def test_run_whose_actions_were_done_is_valid():
    assert judge(acted(ASKS, {"how": "done"})).overall is Outcome.VALID


def test_refused_action_makes_a_run_that_completed_unknown():
    finding = find(acted(ASKS, NOT_FOUND), "RUN")
    assert finding.outcome is Outcome.UNKNOWN
    assert "QEMU refused it: CommandNotFound: The command x was not found" in finding.sentence


def test_refused_action_is_not_done_and_an_unanswered_one_is():
    assert planned.done(checked(acted(CANCEL, NOT_FOUND))) == []
    ((action, _),) = planned.done(checked(acted(CANCEL, {"how": "unanswered"})))
    assert action is CANCEL


@pytest.mark.parametrize(("ends", "is_done"), [(True, True), (False, False)])
def test_quit_whose_answer_was_lost_was_done_if_qemu_ended_then(ends, is_done):
    """Wrong the other way round: a QEMU that was gone before has not quit."""
    leave = Execute(when=ACTIVE, target=Target.SOURCE, command="quit")
    life = Life(scenario(actions=(leave,)))
    if not ends:
        life.killed(SRC)
    life.act()
    life.put("harness", ActionEnded(position=0, how="lost"))
    if ends:
        life.died(SRC, signal=0, status=0)
    run = checked(life.history())
    assert bool(planned.done(run)) is is_done
    assert bool(planned.missed(run)) is not is_done


# -- lies --------------------------------------------------------------------------------


def lying(*changed: bool):
    run = completed(scenario(device(load=LoadBehaviour(lie=Lie.WRONG_BYTE, lie_at=99))))
    at = run.records[len(run.records) // 2].t_ns
    told = [on_device.Lie(lie="wrong_byte", at=99, changed=each) for each in changed]
    return added(run, *(Record.of(at, DST, each, "vfio0") for each in told))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ((True,), ""),
        ((False, True), ""),
        ((False,), "there was no such buffer to change"),
        ((), "its state was never loaded"),
    ],
)
def test_lie_that_changed_nothing_is_named(changed, why):
    missed = planned.missed(checked(lying(*changed)))
    expected = f"lies of the plan changed nothing: vfio0: wrong_byte of buffer 99: {why}"
    assert missed == (expected if why else "")


# -- errors of a device ------------------------------------------------------------------

READ: dict[str, Any] = {"save": SaveBehaviour(error_at=30 << 20)}
WRITE: dict[str, Any] = {"load": LoadBehaviour(error_at=4 << 20)}


@pytest.mark.parametrize(("fields", "call"), [(READ, "read"), (WRITE, "write")])
@pytest.mark.parametrize("number", [0, errno.ENOMSG, errno.EIO])
def test_error_that_never_came_is_named(fields, call, number):
    """It lies behind the last byte; what ends a pre-copy is none."""
    run = completed(scenario(device(**fields)))
    side = SRC if call == "read" else DST
    failed = {"read": Read, "write": Write}[call](offset=0, asked=9, got=0, errno=number)
    record = Record.of(run.records[-1].t_ns, side, failed, "vfio0")
    missed = planned.missed(checked(added(run, record)))
    at = (30 if call == "read" else 4) << 20
    expected = f"errors of the plan did not come: vfio0: no {call} came to byte {at}"
    assert missed == ("" if number == errno.EIO else expected)


def test_error_that_another_error_forestalls_is_not_named():
    life = Life(scenario(device(**READ), device("vfio1", **WRITE)))
    life.put(SRC, Read(offset=0, asked=9, got=0, errno=errno.EIO), "vfio0")
    assert planned.missed(checked(life.history())) == ""


def test_error_of_a_migration_that_is_refused_is_not_named():
    life = Life(scenario(device(**WRITE), multifd=False))
    assert planned.missed(checked(life.history())) == ""


# -- a second migration ------------------------------------------------------------------


@pytest.mark.parametrize("is_hung", [False, True])
def test_second_migration_that_was_not_made_is_named(is_hung):
    """Wrong the other way round: a QEMU that hangs is to blame, and no plan."""
    life = Life(scenario(then=(scenario(),)))
    if is_hung:
        life.hangs(DST)
    life.put("harness", NotContinued(scenario="again"))
    run = checked(life.history())
    words = "the second migration was not made: again: no QEMU runs the guest"
    assert planned.missed(run).startswith(words) is not is_hung
    assert planned.excuse(run) == ""


# -- faults ------------------------------------------------------------------------------

UNTIL_GO = Hold(select=Select(idx=(1,)), until=Until(told="go"))
GO = Tell(when=When(name="never"), name="go")


def holding(fault, *, holds: bool, actions=(), fired: int = 1):
    run = completed(scenario(faults=(fault,), actions=actions))
    record = Record.of(run.records[-1].t_ns, Side.HARNESS, Faults(fired=[fired], holding=[holds]))
    return checked(added(run, record))


@pytest.mark.parametrize(
    ("fault", "holds", "is_named"),
    [
        (Duplicate(until=Until(loaded=True)), True, True),
        (Duplicate(until=Until(loaded=True)), False, False),
        (Hold(until=Until(packets=99)), True, True),
        (StallMain(until=Until(others=True)), True, True),
        # For a time: it did hold for as long as the run lasted.
        (Hold(until=Until(delay_s=60)), True, False),
        (StallMain(until=Until(delay_s=60)), True, False),
    ],
)
def test_fault_that_waited_in_vain_for_an_event_is_named(fault, holds, is_named):
    spec = {"data_path": DataPath.SUPERVISED} if fault.until.loaded else {}
    run = completed(scenario(device(**spec), faults=(fault,)))
    record = Record.of(run.records[-1].t_ns, Side.HARNESS, Faults(fired=[1], holding=[holds]))
    missed = planned.missed(checked(added(run, record)))
    expected = (
        f"faults of the plan waited for an event that did not come: {fault.describe()}"
        if is_named
        else ""
    )
    assert missed == expected


def test_fault_that_a_refusal_left_waiting_is_not_named():
    """The refusal ended the run before the moment could come."""
    run = holding(Hold(until=Until(packets=99)), holds=True)
    run.expectation = expect(scenario(multifd=False), FACTS, FACTS)
    assert planned.missed(run) == ""


def test_second_fault_that_selects_what_never_came_is_named():
    faults = (Flip(select=Select(idx=(1,))), Flip(select=Select(channel=9)))
    run = completed(scenario(faults=faults))
    record = Record.of(run.records[-1].t_ns, Side.HARNESS, Faults(fired=[1, 0]))
    missed = planned.missed(checked(added(run, record)))
    assert missed == f"faults of the plan changed nothing: {faults[1].describe()}"


def test_all_that_did_not_happen_is_named():
    run = holding(UNTIL_GO, holds=True, actions=(GO, KILL_SOURCE))
    missed = planned.missed(run)
    assert "notify the faults of go" in missed
    assert "kill the source" in missed
    assert "waited for an event that did not come: hold packet 1 until go" in missed


# -- whose fault it is that it did not end -----------------------------------------------


def given_up(*, holds=False, refused=False, main_loop_alive=True):
    life = Life(scenario(actions=(ASKS,), faults=(Hold(until=Until(delay_s=60)),)))
    life.act()
    how: dict[str, Any] = NOT_FOUND if refused else {"how": "done"}
    life.put("harness", ActionEnded(position=0, **how))
    life.hangs(DST, main_loop_alive=main_loop_alive)
    life.put("harness", Faults(fired=[1], holding=[holds]))
    life.quit(SRC)
    life.quit(DST)
    return life.history()


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({}, Outcome.VIOLATED),
        ({"refused": True}, Outcome.UNKNOWN),
        ({"refused": True, "main_loop_alive": False}, Outcome.VIOLATED),
        ({"holds": True}, Outcome.UNKNOWN),
        ({"holds": True, "main_loop_alive": False}, Outcome.UNKNOWN),
    ],
)
def test_run_that_did_not_end_blames_qemu_only_where_the_plan_happened(fields, outcome):
    finding = find(given_up(**fields), "RUN")
    assert finding.outcome is outcome
    assert "did not come within 15 s" in finding.sentence
    if outcome is Outcome.UNKNOWN:
        why = "the relay still held something back: hold every packet for 60 s"
        assert (why if fields.get("holds") else "QEMU refused it") in finding.sentence


def test_kill_is_done_like_any_action():
    kill = Kill(when=ACTIVE, target=Target.DESTINATION)
    ((action, _),) = planned.done(checked(acted(kill, {"how": "done"})))
    assert action is kill


# -- logs of DMA -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"start_errno": 5}, "vfio0: no start of its log failed"),
        ({"report_errno": 5}, "vfio0: no report of its log failed"),
        ({"stop_errno": 5}, "vfio0: no stop of its log failed"),
        ({"omits": (1,)}, "vfio0: all pages are there"),
    ],
)
def test_log_that_did_not_fail_is_named(fields, words):
    run = with_dma(completed(scenario(writing(**fields))))
    assert words in planned.missed(checked(run))


def test_size_that_was_not_asked_for_is_named():
    asked = (Misreport(query=Query.DATA_SIZE, first=2, errno=5),)
    more = (*asked, Misreport(query=Query.DATA_SIZE, first=3, errno=5))
    for misreports, words in ((asked, ""), (more, "vfio0: MIG_DATA_SIZE was not asked 3 times")):
        run = completed(scenario(misreporting(misreports=misreports)))
        assert words in planned.missed(checked(changed(run, with_sizes(run))))
        assert bool(words) == bool(planned.missed(checked(changed(run, with_sizes(run)))))


def test_page_left_out_excuses_no_hang():
    """The run may have hung before anything was compared."""
    life = Life(scenario(writing(omits=(1,))))
    life.hangs(DST, main_loop_alive=True)
    life.quit(SRC)
    life.quit(DST)
    run = life.history()
    assert planned.excuse(checked(run)) == ""
    assert find(run, "RUN").outcome is Outcome.VIOLATED


def test_log_of_a_migration_that_is_refused_is_not_named():
    run = refused(scenario(writing(start_errno=5, omits=(1,)), multifd=False), "unsupported")
    assert "log" not in planned.missed(checked(run))


def test_answer_that_no_qemu_asked_for_is_named():
    spec = device(pre_copy=True, precopy_initial_bytes=1000, precopy_info_v2=5)
    words = "vfio0: no QEMU asked for MIG_PRECOPY_INFOv2"
    assert words in planned.missed(checked(completed(scenario(spec))))
    none = device(pre_copy=True, precopy_initial_bytes=1000, precopy_info_v2=0)
    assert not planned.missed(checked(completed(scenario(none))))


def test_change_of_pre_copy_that_did_not_come_is_named():
    change = PrecopyChange(at=1000, dirty_bytes=1)
    spec = device(pre_copy=True, precopy_initial_bytes=2000, precopy_changes=(change, change))
    run = completed(scenario(spec))
    came = Record.of(run.records[-1].t_ns, SRC, PrecopyChanged(0, 1000, 1000, 1, False), "vfio0")
    words = planned.missed(checked(changed(run, [*run.records, came])))
    assert words == "changes of pre-copy did not come: vfio0: precopy_changes[1]"


@pytest.mark.parametrize(("nth", "is_missed"), [(0, False), (1, True)])
def test_server_that_was_to_do_wrong_and_did_not_is_named(nth, is_missed):
    fault = ServerFault(side="source", command="MIG_DATA_READ", does=ServerDoes.PAD, nth=nth)
    spec = VfioUserDevice(id="vfio0", size=device().size, server_faults=(fault,))
    run = completed(scenario(devices=(spec,)))
    seen = on_device.ServerFault(command="MIG_DATA_READ", nth=0, does="pad")
    record = Record.of(run.records[-1].t_ns, Side.SOURCE, seen, "vfio0")
    missed = planned.missed(checked(added(run, record)))
    assert ("vfio0: the source's server got no MIG_DATA_READ 1" in missed) is is_missed
