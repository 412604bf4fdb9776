"""What a scenario plans must be seen to have happened, and is no finding where it did: actions
that are refused or miss their moment, guests that are paused, QEMUs that are told to quit.
"""

from typing import Any

import pytest

from harness.check.verdict import Outcome
from harness.history import Side, plain
from harness.history.process import Exited
from harness.history.session import ActionEnded, Deadline
from harness.job.run import Run
from harness.scenario import (
    MIB,
    DataPath,
    EmulatedDevice,
    Lie,
    LoadBehaviour,
    OnOffAuto,
    SaveBehaviour,
    Scenario,
    Transport,
)
from harness.scenario.action_plan import Execute, Kill, Storm, Target, Tell, When, status
from harness.scenario.fault_plan import Drop, Flip, Hold, HoldConnections, Select, StallMain, Until
from harness.scenario.main_job import STAYS_ACTIVE
from harness.session.ending import settle_s
from tests.records import events, held

SOURCE, DESTINATION = Target.SOURCE, Target.DESTINATION
ACTIVE, DEVICE = status(SOURCE, "active"), status(SOURCE, "device")
STOPPED = When(name="STOP", side="source")
PLAIN = EmulatedDevice(id="vfio0", size=3 * MIB)
SLOW = EmulatedDevice(
    id="vfio0",
    size=6 * MIB,
    data_path=DataPath.SUPERVISED,
    save=SaveBehaviour(read_delay_s=0.05),
)
GOES_ON = {
    "downtime-limit": 2_000_000,
    "avail-switchover-bandwidth": 1 << 50,
    "max-bandwidth": 1 << 50,
}
HELD = When(kind="wire", name="fault", side="harness")


def on_source(command: str, when: When = ACTIVE, **fields: Any) -> Execute:
    return Execute(when=when, target=SOURCE, command=command, **fields)


STOP = on_source("stop")
CANCEL = on_source("migrate_cancel", STOPPED)
COMPLETE = on_source("migrate-set-parameters", STOPPED, arguments=GOES_ON)


def scenario(*actions: Any, **fields: Any) -> Scenario:
    defaults = {"name": "planned", "devices": (PLAIN,), "deadline_s": 10.0}
    return Scenario(actions=actions, **{**defaults, **fields})


def sentence(run: Run, requirement: str = "RUN", outcome: Outcome = Outcome.VALID) -> str:
    finding = run.verdict.finding(requirement)
    assert finding is not None, run.verdict.not_applicable.get(requirement)
    assert finding.outcome is outcome, f"{finding.sentence}; see {run.rundir}"
    return str(finding.sentence)


def last_answer(run: Run, side: Side) -> str:
    """The last state that ``side`` has answered to query-status."""
    answers = [
        record.args["value"]["status"]
        for record in events(run)
        if record.side is side
        and record.name == "return"
        and record.args["command"] == "query-status"
    ]
    return str(answers[-1])


# -- a guest that is paused ----------------------------------------------------------------


@pytest.mark.requirement("RUN")
@pytest.mark.parametrize("return_path", [True, False])
async def test_guest_that_was_paused_in_pre_copy_arrives_paused(judged, kept, return_path) -> None:
    planned = scenario(STOP, COMPLETE, parameters=STAYS_ACTIVE, return_path=return_path)
    run = await judged(planned)
    if "SET-9" in run.verdict.with_outcome(Outcome.VIOLATED):  # what was queued may be lost
        kept(run, "SET-9", case="no return path")
    kept(run, "RUN", "ORD-1")
    assert sentence(run).endswith("; the guest arrived paused")
    assert last_answer(run, Side.DESTINATION) == "paused"
    conts = [r for r in run.history.records if plain(r).get("command") == "cont"]
    assert not conts, "the harness has resumed what the scenario paused"


@pytest.mark.requirement("RUN")
async def test_destination_that_is_told_to_stop_has_its_guest_paused(judged, kept) -> None:
    stop = Execute(when=ACTIVE, target=DESTINATION, command="stop")
    run = await judged(scenario(stop, devices=(SLOW,)))
    kept(run, "RUN", "ORD-1")
    assert last_answer(run, Side.DESTINATION) == "paused"


@pytest.mark.requirement("LIF-7")
async def test_paused_guest_migrates_on(judged_in_turn, kept) -> None:
    then = Scenario(name="on", devices=(PLAIN,), parameters=GOES_ON)
    run, on = await judged_in_turn(scenario(STOP, COMPLETE, parameters=STAYS_ACTIVE, then=(then,)))
    kept(run, "RUN", "ORD-1")
    kept(on, "RUN", "ORD-1", "LIF-7")
    assert last_answer(on, Side.DESTINATION) == "paused"


@pytest.mark.requirement("LIF-4")
@pytest.mark.parametrize("transport", [Transport.UNIX, Transport.FILE])
async def test_paused_guest_is_cancelled_and_stays_with_the_source(judged, kept, transport) -> None:
    more: dict[str, Any] = {}
    if transport is Transport.FILE:
        device = EmulatedDevice(id="vfio0", size=3 * MIB, multifd_transfer=OnOffAuto.AUTO)
        more = {"multifd": False, "return_path": False, "devices": (device,)}
    run = await judged(scenario(STOP, CANCEL, parameters=STAYS_ACTIVE, transport=transport, **more))
    kept(run, "RUN", "LIF-4")
    assert sentence(run, "LIF-4") == "the source cancelled and has its guest, paused"
    assert last_answer(run, Side.SOURCE) == "paused"


@pytest.mark.requirement("LIF-3")
async def test_paused_guest_stays_with_a_source_that_lost_its_destination(judged, kept) -> None:
    kill = Kill(when=STOPPED, target=DESTINATION)
    run = await judged(scenario(STOP, kill, parameters=STAYS_ACTIVE))
    kept(run, "RUN", "LIF-3")
    assert sentence(run, "LIF-3").endswith("has its guest, paused")


@pytest.mark.requirement("RUN")
async def test_actions_are_done_with_a_file_too(judged, kept) -> None:
    """In the source's half and in the destination's."""
    device = EmulatedDevice(
        id="vfio0", size=3 * MIB, multifd_transfer=OnOffAuto.AUTO,
        load=LoadBehaviour(write_delay_s=0.05),
    )  # fmt: skip
    asks = Execute(when=status(DESTINATION, "active"), target=DESTINATION, command="query-status")
    run = await judged(
        scenario(STOP, asks, multifd=False, return_path=False, transport=Transport.FILE,
                 devices=(device,))
    )  # fmt: skip
    kept(run, "RUN")
    assert [ended.how for ended in held(run, ActionEnded)] == ["done", "done"]


# -- a QEMU that is told to quit -----------------------------------------------------------


@pytest.mark.requirement("LIF-3")
@pytest.mark.parametrize("when", [ACTIVE, DEVICE], ids=["active", "device"])
@pytest.mark.parametrize("target", Target)
async def test_planned_quit_is_no_finding_and_leaves_the_other_side(
    judged, kept, target, when
) -> None:
    leave = Execute(when=when, target=target, command="quit")
    run = await judged(scenario(leave, devices=(SLOW,)))
    kept(run, "RUN", "LIF-3")
    (end,) = held(run, Exited, Side(target))
    assert (end.status, end.signal) == (0, 0)


# -- actions that do not happen ------------------------------------------------------------

DEVICE_DEL: dict[str, Any] = {"command": "device_del", "arguments": {"id": "vfio0"}}
UNDONE = {
    "mistyped": (on_source("migrate_cancell"), "QEMU refused it: CommandNotFound: "),
    "refused": (
        Execute(when=ACTIVE, target=SOURCE, **DEVICE_DEL),
        "QEMU refused it: GenericError: Bus 'pcie.0' does not support hotplugging",
    ),
    "missed": (on_source("stop", status(DESTINATION, "setup")), "its moment did not come"),
    "other words": (
        Execute(when=ACTIVE, target=SOURCE, **DEVICE_DEL, refused_with="busy"),
        "QEMU refused it with another error than planned: GenericError: Bus",
    ),
    "not refused": (on_source("query-status", refused_with=""), "QEMU accepted it"),
    "storm": (
        Storm(when=DEVICE, target=SOURCE, commands=("query-nothing", "query-status")),
        "QEMU refused query-nothing: CommandNotFound",
    ),
}


@pytest.mark.requirement("RUN")
@pytest.mark.parametrize("what", UNDONE)
async def test_action_that_is_not_done_as_planned_makes_the_run_unknown(judged, what) -> None:
    action, why = UNDONE[what]
    run = await judged(scenario(action, devices=(SLOW,)))
    words = sentence(run, outcome=Outcome.UNKNOWN)
    assert f"{action.describe()}: {why}" in words
    assert run.verdict.overall is Outcome.UNKNOWN


@pytest.mark.requirement("RUN")
async def test_action_that_is_refused_as_planned_is_valid(judged, kept) -> None:
    action = Execute(when=ACTIVE, target=SOURCE, **DEVICE_DEL, refused_with="support hotplugging")
    run = await judged(scenario(action, devices=(SLOW,)))
    kept(run, "RUN", "ORD-1")
    assert run.verdict.overall is Outcome.VALID


@pytest.mark.requirement("RUN")
async def test_migration_that_a_refused_action_did_not_end_is_no_hang(judged) -> None:
    # QEMU is not in the state that it must be in.
    go_on = on_source("migrate-continue", arguments={"state": "pre-switchover"})
    run = await judged(scenario(go_on, parameters=STAYS_ACTIVE, deadline_s=3.0))
    words = sentence(run, outcome=Outcome.UNKNOWN)
    assert f"{go_on.describe()}: QEMU refused it: " in words


@pytest.mark.requirement("RUN")
@pytest.mark.parametrize(
    ("fields", "action"),
    [
        ({"devices": (EmulatedDevice(id="vfio0", stop_copy=False),)}, STOP),
        ({"multifd": False}, on_source("stop", status(SOURCE, "pre-switchover"))),
    ],
    ids=["no start", "refused at set-up"],
)
async def test_action_of_a_run_that_is_refused_is_named(judged, fields, action) -> None:
    run = await judged(scenario(action, **fields))
    assert action.describe() in sentence(run, outcome=Outcome.UNKNOWN)


# -- lies and faults that do nothing -------------------------------------------------------


@pytest.mark.requirement("RUN")
@pytest.mark.parametrize(("lie", "at"), [(Lie.WRONG_BYTE, 99), (Lie.SWAPPED_BUFFERS, 2)])
async def test_lie_that_changed_nothing_makes_the_run_unknown(judged, lie, at) -> None:
    device = EmulatedDevice(id="vfio0", size=3 * MIB, load=LoadBehaviour(lie=lie, lie_at=at))
    run = await judged(scenario(devices=(device,)))
    words = sentence(run, outcome=Outcome.UNKNOWN)
    assert words == (
        f"lies of the plan changed nothing: vfio0: {lie} of buffer {at}: there was no such "
        "buffer to change"
    )


@pytest.mark.requirement("RUN")
async def test_second_fault_that_never_fires_makes_the_run_unknown(judged) -> None:
    faults = (Flip(select=Select(idx=(1,)), offset=7), Drop(select=Select(idx=(4711,))))
    run = await judged(scenario(faults=faults))
    words = sentence(run, outcome=Outcome.UNKNOWN)
    assert words == "faults of the plan changed nothing: drop packet 4711"


@pytest.mark.requirement("RUN")
async def test_hold_until_an_event_that_came_too_late_is_named(judged) -> None:
    tell = Tell(when=status(SOURCE, "postcopy-active"), name="go")
    hold = Hold(select=Select(idx=(1,)), until=Until(told="go"))
    run = await judged(scenario(tell, devices=(SLOW,), faults=(hold,), deadline_s=3.0))
    words = sentence(run, outcome=Outcome.UNKNOWN)
    assert f"{tell.describe()}: its moment did not come" in words
    assert (
        "faults of the plan waited for an event that did not come: hold packet 1 until go" in words
    )


@pytest.mark.requirement("RUN")
async def test_hold_until_an_action_tells_is_let_go(judged, kept) -> None:
    tell = Tell(when=HELD, name="go")
    hold = Hold(select=Select(idx=(1,)), until=Until(told="go"))
    kept(await judged(scenario(tell, devices=(SLOW,), faults=(hold,))), "RUN", "ORD-1")


# -- what the relay keeps back, QEMU waits for ---------------------------------------------

LONG = Until(delay_s=60)


@pytest.mark.requirement("RUN")
@pytest.mark.parametrize(
    "fault",
    [StallMain(until=LONG), HoldConnections(until=LONG, accepted=1)],
    ids=["stall", "connections"],
)
async def test_migration_that_the_relay_keeps_from_its_end_is_no_hang(judged, fault) -> None:
    run = await judged(scenario(devices=(SLOW,), faults=(fault,), deadline_s=3.0))
    words = sentence(run, outcome=Outcome.UNKNOWN)
    assert words == (
        "the end of source and destination did not come within 3 s; the relay still held "
        f"something back: {fault.describe()}"
    )


@pytest.mark.requirement("LIF-4")
async def test_cancel_over_a_stuck_network_says_what_was_seen(judged, kept) -> None:
    hold = Hold(until=LONG)
    # Before it has all of the main channel, the destination sees its end, and fails.
    all_sent = When(kind="wire", name="main_end", side="harness")
    cancel = on_source("migrate_cancel", all_sent)
    run = await judged(scenario(cancel, devices=(SLOW,), faults=(hold,)))
    kept(run, "RUN", "LIF-4")
    assert sentence(run, "LIF-4") == (
        "the source cancelled and runs on; the destination waits for what the relay holds back: "
        "hold every packet for 60 s"
    )
    (deadline,) = held(run, Deadline)
    assert deadline.waited_s == settle_s(run.history.scenario)
    assert deadline.waiting_for.startswith("the end of destination after the other side")


# -- what the harness does too, and what nobody can reach ----------------------------------


@pytest.mark.requirement("RUN")
async def test_second_migrate_that_is_refused_is_no_refusal_of_the_first(judged) -> None:
    again = on_source("migrate", arguments={"uri": "unix:nowhere"}, refused_with="in progress")
    run = await judged(scenario(again))
    assert "both sides completed" in sentence(run)


@pytest.mark.requirement("RUN")
async def test_read_error_behind_the_last_byte_does_not_come(judged) -> None:
    device = EmulatedDevice(id="vfio0", size=MIB, save=SaveBehaviour(error_at=2 * MIB))
    run = await judged(scenario(devices=(device,)))
    assert "no read came to byte 2097152" in sentence(run, outcome=Outcome.UNKNOWN)


@pytest.mark.requirement("RUN")
async def test_second_migration_of_a_guest_that_is_gone_is_not_made(judged_in_turn) -> None:
    leave = on_source("quit")
    then = (Scenario(name="again", devices=(PLAIN,)),)
    (run,) = await judged_in_turn(scenario(leave, parameters=STAYS_ACTIVE, then=then))
    assert "the second migration was not made" in sentence(run, outcome=Outcome.UNKNOWN)


@pytest.mark.requirement("ORD-4", "ORD-5", "SET-4", "STA-3")
async def test_events_that_are_not_traced_are_not_missed(judged) -> None:
    run = await judged(scenario(trace=("multifd_*",)))
    for requirement in ("ORD-1", "ORD-4", "ORD-5", "SET-4", "STA-3"):
        assert "patterns leave out vfio_" in sentence(run, requirement, Outcome.UNKNOWN)
