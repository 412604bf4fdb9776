"""RUN: the run ended as it must; nobody crashed, nobody hung."""

import msgspec
import pytest

from harness.check.hang import SEND_END, SYNC_WAIT
from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history import Kind, Record
from harness.history.device import UnknownIoctl
from harness.history.process import Exited, Hung, Memory, Signalled, Stderr
from harness.history.records import Body, Side
from harness.history.rundir import History
from harness.history.session import Action, ActionEnded, Deadline, Faults, Replayed, Standstill
from harness.scenario import MIB, LoadBehaviour, SaveBehaviour, fault_plan
from harness.scenario.action_plan import Execute, Target
from tests.twins import TWINS
from tests.twins.damage import change, one, pick, swap
from tests.unit.check.histories import (
    DST,
    SRC,
    Story,
    changed,
    completed,
    device,
    find,
    good,
    history,
    launch_refused,
    only,
    refused,
    scenario,
    without,
)
from tests.unit.check.lives import CONT, RUNNING, STOP, STOPPED, Life, reset, reset_destination
from tests.unit.check.relayed import Relayed, packet, whole


def ending(run, side, **fields):
    end = only(run, "exited", side=side)
    return changed(run, swap(list(run.records), end, **fields))


def unjudged(run):
    """``run`` with a capability that the model does not know."""
    of = msgspec.structs.replace(run.scenario, capabilities={"x-colo": True})
    return History(of, run.manifest, run.records)


def with_record(run, side, args, kind=Kind.TRACE, name="?"):
    """``args`` at the end; where they are a dict, of trace or monitor."""
    at = one(run.records, "execute", side=DST, command="quit").t_ns - 1
    is_typed = isinstance(args, Body)
    record = Record.of(at, Side(side), args) if is_typed else Record(at, side, kind, name, args)
    return changed(run, [*run.records, record])


@pytest.mark.parametrize("name", ["multifd", "refused", "blocked", "launch refused"])
def test_good_ends(name):
    finding = find(good(name), "RUN")
    assert finding.outcome is Outcome.VALID


def test_it_is_always_asked():
    assert "RUN" not in judge(history(scenario(), [])).not_applicable


# -- crashes -----------------------------------------------------------------------------


@pytest.mark.parametrize("side", [SRC, DST])
@pytest.mark.parametrize("name", ["multifd", "refused", "blocked"])
def test_death_by_signal_is_never_right(side, name):
    finding = find(ending(good(name), side, signal=11, status=-1, asked=False), "RUN")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.sentence == f"the {side} QEMU ended by signal 11, unexpectedly"


@pytest.mark.parametrize(
    ("statuses", "shape"),
    [
        ((), "source-signal-11"),
        (("setup", "failing", "failed"), "source-signal-11-in-setup"),
        (("setup", "active", "failed"), "source-signal-11-in-active"),
    ],
)
def test_shape_of_a_crash_says_where_the_migration_was(statuses, shape):
    """Else a crash that is known would excuse one that nobody has seen yet."""
    run = without(good("multifd"), "MIGRATION", "return", side=SRC)
    at = run.records[0].t_ns
    events = [Record(at, SRC, Kind.QMP, "MIGRATION", {"status": status}) for status in statuses]
    crashed = ending(changed(run, [*events, *run.records]), SRC, signal=11, status=-1, asked=False)
    assert find(crashed, "RUN").shape == shape


def test_crash_while_it_quits_is_a_crash():
    finding = find(ending(good("multifd"), SRC, signal=6, status=-1, asked=True), "RUN")
    assert "by signal 6" in finding.sentence


def test_crash_shows_the_last_words():
    run = good("multifd")
    words = Record.of(run.records[-1].t_ns, DST, Stderr(line="assertion failed"))
    crashed = ending(changed(run, [*run.records, words]), DST, signal=6, status=-1)
    finding = find(crashed, "RUN")
    assert [record.name for record in finding.evidence] == ["exited", "stderr"]


def test_destination_may_exit_once_its_load_was_refused():
    run = ending(good("refused"), DST, status=1, asked=False)
    assert find(run, "RUN").outcome is Outcome.VALID


def test_source_may_not_exit_because_of_a_refusal():
    run = ending(good("refused"), SRC, status=1, asked=False)
    assert "the source QEMU ended with exit status 1" in find(run, "RUN").sentence


def test_neither_may_exit_where_the_migration_must_complete():
    run = ending(good("multifd"), DST, status=1, asked=False)
    assert find(run, "RUN").outcome is Outcome.VIOLATED


# -- hangs -------------------------------------------------------------------------------


def test_deadline():
    run = with_record(good("multifd"), "harness", Deadline(waiting_for="RESUME", deadline_s=30.0))
    finding = find(run, "RUN")
    assert finding.sentence == "RESUME did not come within 30 s"
    assert [record.name for record in finding.evidence] == ["deadline"]


@pytest.mark.parametrize(
    ("samples_s", "outcome"),
    [
        ((0.2 * n for n in range(150)), Outcome.VIOLATED),
        ((3, 6, 9, 12, 15, *(20 + 0.2 * n for n in range(50))), Outcome.UNKNOWN),
        ((*(0.2 * n for n in range(110)), 25), Outcome.VIOLATED),
    ],
    ids=["idle", "too busy for 20 s", "busy for 8 s"],
)
def test_deadline_on_a_machine_too_busy_for_the_harness(samples_s, outcome):
    run = with_record(good("multifd"), Side.HARNESS, Deadline("RESUME", 30.0))
    (deadline,) = only(run, "deadline")
    memory = [
        Record.of(
            deadline.t_ns - 30_000_000_000 + int(at_s * 1e9),
            Side.SOURCE,
            Memory(1, 1, "migrating"),
        )
        for at_s in samples_s
    ]
    finding = find(changed(run, [*memory, *run.records]), "RUN")
    assert finding.outcome is outcome
    assert ("too busy for the harness to run" in finding.sentence) == (outcome is Outcome.UNKNOWN)


@pytest.mark.parametrize(
    ("uncounted_s", "outcome"), [(0.0, Outcome.VIOLATED), (0.9, Outcome.VIOLATED),
                                 (1.1, Outcome.UNKNOWN)]
)  # fmt: skip
def test_standstill_is_judged_as_a_deadline_and_says_what_was_seen(uncounted_s, outcome):
    """How busy the machine was before it does not matter: there are no samples at all."""
    gave_up = Deadline("the end of source", deadline_s=15.0, waited_s=3.1)
    run = with_record(good("multifd"), Side.HARNESS, gave_up)
    still = Standstill(2.0, uncounted_s, {"source": 11, "destination": 9})
    finding = find(with_record(run, Side.HARNESS, still), "RUN")
    assert finding.outcome is outcome
    assert finding.sentence.startswith(
        "the end of source did not come within 3.1 s; nothing had moved for 2.0 s: no trace event, "
        "no byte, no event, no access to a device, and all threads were asleep "
        "(11 of the source and 9 of the destination)"
    )
    assert ("too busy for the harness to run" in finding.sentence) == (outcome is Outcome.UNKNOWN)


def test_samples_of_a_long_wait_are_further_apart():
    run = with_record(good("multifd"), Side.HARNESS, Deadline("RESUME", 600.0))
    (deadline,) = only(run, "deadline")
    start_ns = deadline.t_ns - 600_000_000_000
    sampled = Memory(1, 1, "migrating")
    memory = [Record.of(start_ns + 3_000_000_000 * n, Side.SOURCE, sampled) for n in range(1, 200)]
    assert find(changed(run, [*memory, *run.records]), "RUN").outcome is Outcome.VIOLATED


def test_monitor_that_hung():
    run = with_record(good("multifd"), DST, Hung(waiting_for="quit", backtrace=""))
    finding = find(run, "RUN")
    assert finding.sentence == "the destination QEMU hung: quit"


def test_monitor_that_hung_in_a_known_shape():
    run = good("multifd")
    quit_ns = one(run.records, "execute", side=SRC, command="quit").t_ns
    shown: list[Record] = [
        Record(quit_ns - 3, SRC, Kind.TRACE, SYNC_WAIT, {"id": 0}),
        Record(quit_ns - 2, SRC, Kind.TRACE, SEND_END, {"id": 0}),
        Record.of(quit_ns - 1, SRC, Hung(waiting_for="quit", backtrace="")),
    ]
    finding = find(changed(run, [*run.records, *shown]), "RUN")
    assert finding.sentence.startswith("the source QEMU hung: quit: the source's migration thread")
    assert list(finding.evidence) == shown


LATE = Deadline(waiting_for="the end", deadline_s=5.0)


def test_deadline_shows_who_hung():
    run = with_record(good("multifd"), "harness", LATE)
    run = with_record(run, SRC, Hung(waiting_for="the end", backtrace=""))
    assert [r.name for r in find(run, "RUN").evidence] == ["deadline", "hung"]


def test_kill_that_was_needed_to_end_it():
    finding = find(ending(good("multifd"), DST, signal=9, status=-1), "RUN")
    assert "did not quit when asked to; SIGKILL ended it" in finding.sentence


def test_end_by_sigterm_is_polite():
    assert find(ending(good("multifd"), DST, signal=15, status=-1), "RUN").outcome is Outcome.VALID


def test_kill_of_a_qemu_that_was_not_asked_to_quit_says_nothing():
    run = good("multifd")
    told = pick(run.records, "execute", "return", side=DST, command="quit")
    run = changed(run, [r for r in run.records if r not in told])
    assert find(ending(run, DST, signal=9, status=-1), "RUN").outcome is Outcome.VALID


def test_quit_that_meets_a_known_hang_is_that_hang():
    """Else a hang that is known has another shape for each thing that it keeps from ending."""
    run = good("multifd")
    quit_ns = one(run.records, "execute", side=SRC, command="quit").t_ns
    shown: list[Record] = [
        Record(quit_ns - 3, SRC, Kind.TRACE, SYNC_WAIT, {"id": 0}),
        Record(quit_ns - 2, SRC, Kind.TRACE, SEND_END, {"id": 0}),
    ]
    hung = Record.of(quit_ns - 1, SRC, Hung(waiting_for="the end", backtrace=""))
    killed = ending(changed(run, [*run.records, *shown, hung]), SRC, signal=9, status=-1)
    assert find(killed, "RUN").shape == "send-sync-waits-for-ended-channel"
    other = msgspec.structs.replace(hung, side=DST)
    killed = ending(changed(run, [*run.records, *shown, other]), DST, signal=9, status=-1)
    words = find(killed, "RUN")
    assert words.outcome is Outcome.VIOLATED


# -- migrations that must complete -------------------------------------------------------


def test_migration_that_failed_tells_why():
    finding = find(refused(scenario(), "VFIO_FD9: state buffer 3 already filled"), "RUN")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.sentence == (
        "the migration must complete, but the source reports failed: "
        "VFIO_FD9: state buffer 3 already filled"
    )


def test_source_that_completed_and_destination_that_failed():
    run = good("multifd")
    kept = [r for r in run.records if r.name != "RESUME"]
    told = pick(kept, "MIGRATION", side=DST, status="completed")
    answers = pick(kept, "return", side=DST, command="query-migrate")
    failed = swap(swap(kept, told, status="failed"), answers, value={"status": "failed"})
    finding = find(changed(run, failed), "RUN")
    assert finding.sentence == "the migration must complete, but the destination reports failed"


@pytest.mark.parametrize(("side", "command"), [(SRC, "migrate"), (DST, "migrate-incoming")])
def test_command_that_was_refused(side, command):
    story = Story()
    story.boot(scenario())
    story.qmp(side, command, error="Guest is waiting for an incoming migration")
    story.end("inmigrate")
    finding = find(history(scenario(), story.records), "RUN")
    assert finding.outcome is Outcome.VIOLATED
    assert f"the {side} refuses it: Guest is waiting" in finding.sentence


def test_migration_that_nobody_saw_end_is_unknown():
    run = without(good("multifd"), "MIGRATION", "RESUME", "return")
    finding = find(run, "RUN")
    assert finding.outcome is Outcome.UNKNOWN
    assert "no record of how the migration ended" in finding.sentence


def test_qemu_that_was_not_started_is_unknown():
    assert find(without(good("multifd"), "launched", side=SRC), "RUN").outcome is Outcome.UNKNOWN


# -- migrations that must not complete ---------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [device(save=SaveBehaviour(error_at=MIB)), device(load=LoadBehaviour(error_at=MIB))],
    ids=["read error", "write error"],
)
def test_device_error_must_fail_the_migration(spec):
    assert find(refused(scenario(spec), "Input/output error"), "RUN").outcome is Outcome.VALID
    finding = find(completed(scenario(spec)), "RUN")
    assert finding.outcome is Outcome.VIOLATED
    assert "must not complete (device error), but the destination reports that it did" in (
        finding.sentence
    )


def test_refusal_that_left_no_trace_is_unknown():
    run = without(good("refused"), "MIGRATION", "return", "stderr")
    assert find(run, "RUN").outcome is Outcome.UNKNOWN


def test_warning_does_not_tell_that_it_failed():
    run = without(good("refused"), "MIGRATION", "return", "stderr")
    warning = "qemu: -device vfio-pci,id=vfio0: warning: VFIO dma-buf not supported in kernel"
    assert find(with_record(run, SRC, Stderr(line=warning)), "RUN").outcome is (Outcome.UNKNOWN)


# -- at start ----------------------------------------------------------------------------


def test_exit_at_start_is_right_where_it_must_be_refused():
    finding = find(good("launch refused"), "RUN")
    assert finding.numbers == {"status": 1}


def test_crash_at_start_is_not():
    run = ending(good("launch refused"), SRC, signal=11, status=-1)
    assert find(run, "RUN").outcome is Outcome.VIOLATED


def test_no_end_at_start_is_unknown():
    assert find(without(good("launch refused"), "exited"), "RUN").outcome is Outcome.UNKNOWN


# -- lines that nobody knows -------------------------------------------------------------


def test_unknown_trace_lines_are_counted_and_not_held_against_qemu():
    run = with_record(good("multifd"), DST, {"line": "warning: something"})
    run = with_record(run, SRC, {"line": "another"})
    finding = find(run, "RUN")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["unknown_trace_lines"] == 2
    assert finding.numbers["records"] == len(run.records)


def test_ioctl_that_the_device_does_not_know_is_named_and_not_held_against_qemu():
    run = good("multifd")
    quit_ns = one(run.records, "execute", side=DST, command="quit").t_ns
    asked = [
        Record.of(quit_ns - 1, side, UnknownIoctl(number=name, errno=25), "vfio0")
        for side, name in (
            (SRC, "VFIO_DEVICE_FEATURE 11"),
            (DST, "VFIO_DEVICE_FEATURE 11"),
            (DST, "0x94"),
        )
    ]
    finding = find(changed(run, [*run.records, *asked]), "RUN")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["unknown_ioctls"] == "0x94, VFIO_DEVICE_FEATURE 11"


def test_evidence_of_a_crash_is_the_exit():
    run = good("multifd")
    end = change(only(run, "exited", side=DST)[0], signal=11, status=-1)
    finding = find(ending(run, DST, signal=11, status=-1), "RUN")
    assert finding.evidence == (end,)


# -- faults on the way -------------------------------------------------------------------


def with_faults(run, *counts):
    """The run of a plan of two faults, which fired so often."""
    plan = (fault_plan.Drop(), fault_plan.Hold(until=fault_plan.Until(delay_s=1)))
    planned = msgspec.structs.replace(run.scenario, faults=plan)
    told = [
        Record.of(run.records[-1].t_ns, Side.HARNESS, Faults(fired=list(fired))) for fired in counts
    ]
    return history(planned, [*run.records, *told])


def test_fault_that_did_nothing_is_not_the_run_that_was_asked_for():
    finding = find(with_faults(good("multifd"), (1, 0)), "RUN")
    assert finding.outcome is Outcome.UNKNOWN
    assert finding.sentence == ("faults of the plan changed nothing: hold every packet for 1 s")


def test_faults_that_all_fired_in_some_migration():
    assert find(with_faults(good("multifd"), (1, 2)), "RUN").outcome is Outcome.VALID
    assert find(with_faults(good("multifd"), (1, 0), (0, 1)), "RUN").outcome is Outcome.VALID


def test_plan_of_which_nobody_told_is_unknown():
    assert find(with_faults(good("multifd")), "RUN").outcome is Outcome.UNKNOWN


def test_fault_that_did_nothing_excuses_no_crash():
    run = ending(with_faults(good("multifd"), (0, 0)), DST, signal=11, status=-1)
    assert find(run, "RUN").outcome is Outcome.VIOLATED


@pytest.mark.parametrize("name", ["duplicate", "missing packet", "closed channel"])
def test_end_that_follows_from_what_was_delivered(name):
    assert find(good(name), "RUN").outcome is Outcome.VALID


def dropped():
    story = Relayed(scenario())
    story.send()
    story.fault("drop", idx=2)
    story.deliver(*[args for args in whole() if args["idx"] != 2])
    return story


def test_destination_that_must_wait_and_fails():
    finding = find(dropped().refused("vfio0: operation cancelled"), "RUN")
    assert finding.sentence == (
        "the destination must be waiting, but it is refused: vfio0: operation cancelled"
    )


def test_destination_that_waits_may_need_a_kill():
    run = ending(dropped().waits(main_loop_alive=False), DST, signal=9, status=-1)
    assert find(run, "RUN").outcome is Outcome.VALID


def test_source_that_hangs_while_the_destination_waits():
    run = dropped().waits()
    hung = only(run, "hung", side=SRC)
    finding = find(changed(run, swap(list(run.records), hung, monitor_alive=False)), "RUN")
    assert finding.sentence == "the source QEMU hung while the destination waited"


def test_wait_that_nobody_saw_is_unknown():
    run = without(dropped().waits(), "deadline")
    assert find(run, "RUN").sentence == "there is no record of how the destination ended"


def test_completion_where_only_refusal_and_waiting_are_open():
    story = Relayed(scenario())
    story.send()
    story.fault("rewrite")
    story.deliver(*whole(packet(2, next_packet_size=1 << 30)))
    finding = find(story.completed(), "RUN")
    assert finding.sentence == "the destination must be refused or waiting, but it is completed"


def test_hang_where_only_completion_and_refusal_are_open():
    story = Relayed(scenario())
    story.send()
    story.fault("duplicate")
    story.deliver(*whole(), packet(3))
    assert "did not come within 15 s" in find(story.waits(), "RUN").sentence


# -- stopped by an action ----------------------------------------------------------------


def test_run_that_was_stopped_is_judged_by_the_rules_of_what_stopped_it():
    finding = find(good("cancelled"), "RUN")
    assert finding.outcome is Outcome.VALID
    assert finding.sentence == "neither QEMU crashed; see LIF-3 or LIF-4"


def test_qemu_that_dies_of_being_stopped_is_a_crash():
    run = good("cancelled")
    end = one(run.records, "exited", side=SRC)
    records = swap(list(run.records), [end], signal=6, status=-1, asked=False)
    finding = find(changed(run, records), "RUN")
    assert finding.outcome is Outcome.VIOLATED
    assert "signal 6" in finding.sentence


def test_kill_that_came_before_it_was_told_to_quit_is_the_scenarios():
    run = ending(good("multifd"), DST, signal=9, status=-1)
    (told,) = pick(run.records, "execute", side=DST, command="quit")
    early = Record.of(told.t_ns - 1, DST, Signalled(signal=9))
    assert find(changed(run, [*run.records, early]), "RUN").outcome is Outcome.VALID
    late = Record.of(told.t_ns + 1, DST, Signalled(signal=9))
    assert find(changed(run, [*run.records, late]), "RUN").outcome is Outcome.VIOLATED


# -- what the model does not know ----------------------------------------------------------


@pytest.mark.parametrize("name", ["multifd", "refused", "blocked", "launch refused"])
def test_run_with_an_unknown_setting_is_unknown_however_it_ends(name):
    run = unjudged(good(name))
    verdict = judge(run)
    assert verdict.overall is Outcome.UNKNOWN
    assert [finding.requirement for finding in verdict.findings] == ["RUN"]
    assert find(run, "RUN").sentence.startswith("the model does not know capability x-colo; ")


def test_unknown_setting_is_told_with_what_was_seen():
    assert find(unjudged(good("multifd")), "RUN").sentence.endswith(
        "the source's status is completed, the destination's status is completed"
    )
    assert 'the source refused migrate: "' in find(unjudged(good("blocked")), "RUN").sentence
    late = Deadline(waiting_for="the end of source", deadline_s=15.0)
    run = with_record(good("multifd"), "harness", late)
    assert "the end of source did not come" in find(unjudged(run), "RUN").sentence


@pytest.mark.parametrize("side", [SRC, DST])
def test_crash_is_wrong_whatever_the_settings_are(side):
    run = unjudged(ending(good("multifd"), side, signal=11, status=-1, asked=False))
    assert find(run, "RUN").outcome is Outcome.VIOLATED
    assert judge(run).with_outcome(Outcome.VIOLATED) == ("RUN",)
    exited = unjudged(ending(good("multifd"), side, status=1, asked=False))
    assert find(exited, "RUN").outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.name)
def test_twin_with_an_unknown_setting_shows_crashes_and_other_bytes_only(twin):
    """What a rule demands may be what the setting changes."""
    run = unjudged(twin.of(good(twin.shown_on)))
    stands_alone = {
        "wrong_byte": ("ORD-1",),
        "states_go_to_the_wrong_devices": ("ORD-1",),
        "memory_is_damaged": ("RUN",),
        "device_is_gone_while_it_migrates": ("LIF-12",),
    }
    found = judge(run).with_outcome(Outcome.VIOLATED)
    crashed = any(r.name == "exited" and r.args.signal not in (0, 9) for r in run.records)
    expected = ("RUN",) if crashed else stands_alone.get(twin.name, ())
    assert found == expected


# -- refused at set-up ---------------------------------------------------------------------


def refused_at(command, words, *, side=SRC, **fields):
    story = Story()
    story.boot(scenario(**fields))
    story.qmp(side, command, error=words)
    story.end("inmigrate")
    return history(scenario(**fields), story.records)


@pytest.mark.parametrize("command", ["migrate-set-capabilities", "migrate-set-parameters"])
@pytest.mark.parametrize("side", [SRC, DST])
def test_known_settings_must_be_accepted(command, side):
    finding = find(refused_at(command, "No", side=side), "RUN")
    assert finding.outcome is Outcome.VIOLATED
    assert (
        finding.sentence == f'the settings must be accepted, but the {side} refused {command}: "No"'
    )


def test_credentials_that_are_refused_are_not_qemus_alone():
    assert find(refused_at("object-add", "no such file"), "RUN").outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        ("Multifd is not compatible with xbzrle", Outcome.VALID),
        ("Cannot allocate memory", Outcome.UNKNOWN),
    ],
)
def test_setting_that_must_be_refused_is_so_with_its_own_words(words, outcome):
    run = refused_at("migrate-set-capabilities", words, capabilities={"xbzrle": True})
    finding = find(run, "RUN")
    assert finding.outcome is outcome
    assert words in (finding.sentence, finding.numbers.get("said")) or words in finding.sentence


def test_setting_that_must_be_refused_must_not_complete():
    run = completed(scenario(capabilities={"xbzrle": True}))
    assert find(run, "RUN").outcome is Outcome.VIOLATED


def test_refusal_at_start_for_something_else_is_unknown():
    said = "cannot set up guest memory 'pc.ram': Cannot allocate memory"
    run = launch_refused(scenario(device(stop_copy=False)), said)
    assert find(run, "RUN").outcome is Outcome.UNKNOWN


# -- a guest's reset that ends a transfer -------------------------------------------------


def after_reset(*, noticed: bool = True, answer=RUNNING, **fields):
    life = reset(noticed=noticed)
    if answer is not None:
        life.asked(SRC, answer)
    for side, status in fields.items():
        life.status({"source": SRC, "destination": DST}[side], status)
    life.quit(SRC)
    life.quit(DST)
    return find(life.history(), "RUN")


def test_reset_is_named_as_the_cause():
    finding = after_reset()
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["cause"] == "the guest was reset while vfio0 was in PRE_COPY"


def test_reset_of_the_destination_is_named_as_the_cause():
    life = reset_destination()
    life.asked(SRC)
    life.quit(SRC)
    life.quit(DST)
    finding = find(life.history(), "RUN")
    assert finding.outcome is Outcome.VALID
    assert "the destination's guest was reset" in finding.numbers["cause"]


def test_reset_that_the_source_did_not_come_upon_is_no_cause():
    assert after_reset(noticed=False).outcome is Outcome.UNKNOWN


def test_source_that_is_lost_after_a_reset():
    finding = after_reset(answer=STOPPED)
    assert finding.outcome is Outcome.VIOLATED
    assert "does not run" in finding.sentence


def test_source_that_nobody_asked_after_a_reset():
    assert after_reset(answer=None).outcome is Outcome.UNKNOWN


def test_destination_that_completed_all_the_same_after_a_reset():
    finding = after_reset(destination="completed")
    assert finding.outcome is Outcome.VIOLATED
    assert "but the destination completed" in finding.sentence


def test_source_that_goes_on_after_a_reset_is_unknown():
    assert after_reset(source="active").outcome is Outcome.UNKNOWN


# -- paused guests, planned ends, deadlines ------------------------------------------------


def arriving(status, *, actions=(), done=()):
    """A migration that completes; the destination's guest is in this state at the end."""
    run = completed(scenario(actions=actions))
    records = [r for r in run.records if r.name != "RESUME"]
    answer = one(records, "return", side=DST, command="query-status")
    value = {"status": status, "running": status == "running"}
    records = swap(records, [answer], value=value)
    began = one(records, "MIGRATION", side=SRC, status="active").t_ns
    return changed(run, [*records, *(
        Record.of(began, Side.HARNESS, Action(action="", position=each))
        for each in done
    )])  # fmt: skip


@pytest.mark.parametrize(
    ("status", "actions", "done", "outcome"),
    [
        ("paused", (STOP,), (0,), Outcome.VALID),
        ("running", (STOP,), (0,), Outcome.VALID),
        ("running", (), (), Outcome.VALID),
        ("paused", (), (), Outcome.VIOLATED),
        ("inmigrate", (), (), Outcome.VIOLATED),
        ("paused", (STOP, CONT), (0, 1), Outcome.VIOLATED),
        # A guest brings itself into these.
        ("shutdown", (), (), Outcome.VALID),
        ("guest-panicked", (), (), Outcome.VALID),
    ],
)
def test_guest_arrives_as_the_scenario_left_it(status, actions, done, outcome):
    """Wrong if a paused guest must run, or if one that nobody paused need not."""
    finding = find(arriving(status, actions=actions, done=done), "RUN")
    assert finding.outcome is outcome
    if outcome is Outcome.VIOLATED:
        assert f"the destination's guest does not run: {status}" in finding.sentence
    assert ("the guest arrived paused" in finding.sentence) is (
        status == "paused" and outcome is Outcome.VALID
    )


def test_guest_of_a_capture_may_have_been_paused():
    run = arriving("paused")
    record = Record.of(run.records[0].t_ns, Side.HARNESS, Replayed(capture="x"))
    assert find(changed(run, [*run.records, record]), "RUN").outcome is Outcome.VALID


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"waiting_for": "the end of source", "deadline_s": 15.0, "waited_s": 5.0},
         "the end of source did not come within 5 s"),
        ({"waiting_for": "the end of source", "deadline_s": 15.0, "waited_s": 15.0},
         "the end of source did not come within 15 s"),
        ({"waiting_for": "stop was not answered within 10 s", "deadline_s": 15.0,
          "waited_s": None}, "stop was not answered within 10 s"),
        ({"waiting_for": "the end of source", "deadline_s": 15.0},
         "the end of source did not come within 15 s"),
    ],
)  # fmt: skip
def test_deadline_says_how_long_was_waited(args, words):
    run = with_record(good("multifd"), "harness", Deadline(**args))
    assert find(run, "RUN").sentence == words


def after_the_deadline(**fields):
    life = Life(scenario())
    life.hangs(DST)
    life.quit(SRC)
    life.put(DST, Exited(**fields))
    return find(life.history(), "RUN")


def test_signal_that_ends_a_qemu_as_it_quits_is_a_finding_and_a_status_is_none():
    finding = after_the_deadline(status=-1, signal=11, asked=True)
    assert finding.sentence == "the destination QEMU ended by signal 11 as it quit"
    finding = after_the_deadline(status=1, signal=0, asked=True)
    assert "did not come within 15 s" in finding.sentence


def test_command_that_nobody_knows_and_that_was_not_done_is_named_besides():
    """What it would do is not judged; that it was not done, is said."""
    yank = Execute(when=STOP.when, target=Target.SOURCE, command="yank")
    life = Life(scenario(actions=(yank,)))
    life.status(SRC, "failed")
    life.end("inmigrate")
    finding = find(life.history(), "RUN")
    assert finding.outcome is Outcome.UNKNOWN
    assert "the model does not know command yank" in finding.sentence
    assert "yank to the source at source MIGRATION status=active: it was" in finding.sentence


def test_command_that_must_be_refused_leaves_the_run_judged():
    wanted = Execute(when=STOP.when, target=Target.SOURCE, command="yank", refused_with="")
    run = completed(scenario(actions=(wanted,)))
    at = run.records[0].t_ns
    refused = ActionEnded(position=0, how="refused", error_class="GenericError", desc="no")
    acted = [Record.of(at, Side.HARNESS, Action(action="", position=0)),
             Record.of(at, Side.HARNESS, refused)]  # fmt: skip
    assert find(changed(run, [*run.records, *acted]), "RUN").outcome is Outcome.VALID


def test_violation_names_what_was_planned_and_did_not_happen_too():
    run = ending(good("multifd"), SRC, signal=11, status=-1, asked=False)
    planned = msgspec.structs.replace(run.scenario, actions=(STOP,))
    finding = find(History(planned, run.manifest, run.records), "RUN")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.sentence.startswith("the source QEMU ended by signal 11, unexpectedly; actions")
    assert finding.sentence.endswith("it was never started")


def test_qemu_that_refused_to_start_and_was_to_be_stopped_is_unknown():
    run = good("launch refused")
    planned = msgspec.structs.replace(run.scenario, actions=(STOP,))
    finding = find(History(planned, run.manifest, run.records), "RUN")
    assert finding.outcome is Outcome.UNKNOWN
    assert "it was never started" in finding.sentence


# -- a refused action that is a command of the harness, too -------------------------------

AGAIN = "There's a migration process in progress"


def migrates_again(answered: str, ended: str):
    """A run that completes, and ``migrate`` of an action, which is refused meanwhile.

    :param answered: the words that the error has
    :param ended: those that the record of the action's end has
    """
    action = Execute(
        when=CONT.when, target=Target.SOURCE, command="migrate", refused_with="in progress"
    )
    run = completed(scenario(actions=(action,)))
    at = one(run.records, "MIGRATION", side=SRC, status="active").t_ns
    result = ActionEnded(position=0, how="refused", error_class="GenericError", desc=ended)
    error = {"command": "migrate", "class": "GenericError", "desc": answered}
    return changed(run, [
        *run.records,
        Record.of(at + 1, Side.HARNESS, Action(action="", position=0)),
        Record(at + 2, SRC, Kind.QMP, "error", error),
        Record.of(at + 3, Side.HARNESS, result),
    ])  # fmt: skip


def test_refused_action_is_no_refusal_of_the_migration():
    assert judge(migrates_again(AGAIN, AGAIN)).overall is Outcome.VALID


def test_refusal_with_other_words_than_the_action_got_is_of_the_migration():
    finding = find(migrates_again("No space", AGAIN), "RUN")
    assert finding.outcome is Outcome.VIOLATED
    assert "No space" in finding.sentence
