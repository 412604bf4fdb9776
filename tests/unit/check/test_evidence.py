"""A history grouped for the rules, and how a run ended."""

from datetime import UTC, datetime
from typing import Any

import pytest

from harness.check.evidence import INCOMING, LOAD_START, Endings, Evidence, Seen
from harness.history import Kind, Record, Side
from harness.history.device import Received, Write
from harness.history.process import Exited, HandedOver, Hung, Stderr
from harness.history.session import Action, Continued, Deadline
from harness.history.wire import Delivered, PacketLost, PacketOut
from harness.model.expectation import expect
from harness.scenario.action_plan import Execute, Target, When
from tests.twins.damage import one, pick, swap
from tests.unit.check.histories import (
    DST,
    FACTS,
    MS,
    SRC,
    UNSUPPORTED,
    Story,
    changed,
    device,
    good,
    history,
    only,
    scenario,
    without,
)
from tests.unit.check.story import START, US


def checked(run) -> Evidence:
    return Evidence(Seen(run), expect(run.scenario, FACTS, FACTS))


def test_records_are_found_by_kind_side_device_and_name():
    run = checked(good("multifd"))
    assert [r.args["idx"] for r in run.trace(DST, LOAD_START, "vfio0")][:3] == [0, 1, 2]
    assert len(run.trace(DST, "multifd_recv_thread_start")) == 4
    assert run.trace(SRC, LOAD_START, "vfio0") == ()
    assert run.trace(DST, "nothing", "vfio0") == ()
    assert len(run.of(Received, DST, "vfio1")) == 1
    assert run.qmp(SRC, "STOP") == ()


def test_groups_keep_the_order_of_the_history():
    one = scenario()
    names = ["b", "a", "b", "c"]
    records: list[Record] = [
        Record(START, DST, Kind.TRACE, name, {"n": n}) for n, name in enumerate(names)
    ]
    run = checked(history(one, records))
    assert [r.args["n"] for r in list[Any](run.sequence(Kind.TRACE, DST))] == [0, 1, 2, 3]
    assert [r.args["n"] for r in run.trace(DST, "b")] == [0, 2]


def test_devices_with_a_trace_event_are_found():
    run = checked(good("multifd"))
    assert run.traced_devices(DST, INCOMING) == ["vfio0", "vfio1"]
    assert run.traced_devices(SRC, INCOMING) == []
    assert run.traced_devices(DST, "multifd_recv_thread_start") == [""]


def test_reception_is_keyed_by_index():
    reception = checked(good("multifd")).reception("vfio0")
    assert reception.highest == 21
    assert set(reception.incoming) == set(range(22))
    assert set(reception.starts) == set(reception.ends) == set(range(21))
    assert reception.repeated == []


def test_reception_keeps_the_first_and_tells_the_repeated():
    run = good("multifd")
    packet = only(run, INCOMING, device="vfio0")[3]
    reception = checked(changed(run, [*run.records, packet])).reception("vfio0")
    assert reception.repeated == [packet]


def test_device_without_packets_has_an_empty_reception():
    reception = checked(good("compression")).reception("vfio0")
    assert reception.highest == -1
    assert not reception.starts


def test_trace_of_one_side_is_not_that_of_the_other():
    records: list[Record] = [Record(START, SRC, Kind.TRACE, "x", {}, "vfio0")]
    run = checked(history(scenario(), records))
    assert run.has_trace(SRC)
    assert not run.has_trace(DST)
    assert run.total == 1


def test_silence_of_the_whole_machine_is_told():
    times = [START, START + 100, START + 200]
    records = [Record(t, SRC, Kind.TRACE, "x") for t in times]
    run = checked(history(scenario(), records))
    assert run.was_awake(START, START + 150)
    assert not run.was_awake(START, START + 100)
    assert not run.was_awake(START + 110, START + 190)
    assert not run.was_awake(START + 200, START + 900)


def test_devices_over_multifd_are_those_that_are_expected_there():
    assert checked(good("multifd")).multifd_devices == ["vfio0", "vfio1"]
    run = good("pre-copy, main channel")
    assert checked(run).multifd_devices == []
    assert [d.id for d in checked(run).devices] == [device().id]


def test_configuration_is_the_packet_that_is_flagged_or_the_last_that_came_in():
    for name in ("multifd", "relayed"):
        run = checked(good(name))
        assert [run.config_idx(device) for device in ("vfio0", "vfio1")] == [21, 4]
    assert checked(good("blocked")).config_idx("vfio0") == -1


def test_typed_records_are_found_by_type_and_device():
    run = checked(good("relayed"))
    assert len(run.of(PacketOut)) == 27
    assert [r.args.idx for r in run.of(PacketOut, device="vfio1")] == [1, 0, 3, 2, 4]
    assert not run.of(PacketLost)
    assert not run.of(PacketOut, device="")


# -- endings ------------------------------------------------------------------------------


def endings(run) -> Endings:
    return Evidence(Seen(run), expect(run.scenario, FACTS, FACTS)).endings


def last_of(found: Endings, side) -> Record[Any]:
    record = found.last_status(side)
    assert record is not None
    return record


def test_both_sides_of_a_good_run_completed():
    found = endings(good("multifd"))
    assert found.status(SRC) == found.status(DST) == "completed"
    assert found.is_completed
    assert last_of(found, SRC).args["value"]["status"] == "completed"
    assert found.deadline is None
    assert found.hung == ()


def test_status_is_the_last_that_was_told():
    found = endings(good("refused"))
    assert found.status(SRC) == found.status(DST) == "failed"
    assert not found.is_completed


def test_nothing_told_is_no_status():
    found = endings(history(scenario(), []))
    assert found.status(SRC) == ""
    assert found.last_status(SRC) is None
    assert found.last_status(DST) is None
    assert found.launched[SRC] is None
    assert found.exited[DST] is None
    assert found.crash(SRC) is None
    assert found.quit_ns(SRC) is None


def test_destination_that_resumed_has_completed():
    run = without(without(good("multifd"), "return", side=DST), "MIGRATION", side=DST)
    found = endings(run)
    assert found.status(DST) == "completed"
    assert last_of(found, DST).name == "RESUME"


def test_destination_that_resumed_and_failed_has_failed():
    story = Story()
    story.add(DST, Kind.QMP, "RESUME")
    story.status(DST, "failed")
    assert endings(history(scenario(), story.records)).status(DST) == "failed"


def test_active_is_not_the_end():
    story = Story()
    story.status(DST, "setup", "active")
    found = endings(history(scenario(), story.records))
    assert found.status(DST) == "active"
    assert last_of(found, DST).args["status"] == "active"


@pytest.mark.parametrize(
    ("fields", "is_crash"),
    [
        ({"status": 0, "signal": 0, "asked": True}, False),
        ({"status": -1, "signal": 15, "asked": True}, False),
        ({"status": -1, "signal": 9, "asked": True}, False),
        ({"status": -1, "signal": 11, "asked": True}, True),
        ({"status": -1, "signal": 6, "asked": False}, True),
        ({"status": 1, "signal": 0, "asked": True}, True),
        ({"status": 0, "signal": 0, "asked": False}, True),
        ({"status": 1, "signal": 0, "asked": False}, True),
    ],
)
def test_end_that_nobody_asked_for_is_a_crash(fields, is_crash):
    run = good("multifd")
    end = one(run.records, "exited", side=DST)
    found = endings(changed(run, swap(list(run.records), [end], **fields)))
    assert (found.crash(DST) is not None) == is_crash
    assert found.crash(SRC) is None


def test_commands_and_their_answers():
    found = endings(good("blocked"))
    assert len(found.commands(SRC, "migrate")) == 1
    assert found.commands(SRC, "migrate", "return") == []
    assert "disabled" in found.commands(SRC, "migrate", "error")[0].args["desc"]
    assert found.commands(DST, "migrate") == []


def test_time_of_quit_is_known():
    run = good("multifd")
    told = one(run.records, "execute", side=SRC, command="quit")
    assert endings(run).quit_ns(SRC) == told.t_ns


def test_error_texts_come_from_answers_and_from_stderr():
    found = endings(good("refused"))
    source = [text for _, text in found.texts(SRC)]
    assert source == [UNSUPPORTED, f"qemu: {UNSUPPORTED}"]
    assert "load of stream failed" in [text for _, text in found.texts(None)]
    assert [text for _, text in endings(good("blocked")).texts(DST)] == []


def test_deadline_and_hang_are_found():
    run = good("multifd")
    last = run.records[-1]
    more = [
        Record.of(last.t_ns, DST, Hung(waiting_for="the end", backtrace="")),
        Record.of(last.t_ns, Side.HARNESS, Deadline(waiting_for="the end", deadline_s=5.0)),
    ]
    found = endings(changed(run, [*run.records, *more]))
    assert [record.side for record in found.hung] == [DST]
    assert found.deadline is not None


def test_answers_that_are_no_answers_are_passed_over():
    run = good("multifd")
    answers = pick(run.records, "return", command="query-migrate")
    found = endings(changed(run, swap(list(run.records), answers, value=None)))
    assert found.is_completed


def test_qemu_that_was_handed_over_has_ended_here_and_did_not_crash():
    run = good("multifd")
    end = one(run.records, "exited", side=DST)
    over = Record.of(end.t_ns, DST, HandedOver())
    found = endings(changed(run, [over if record is end else record for record in run.records]))
    assert found.exited[DST] is None
    assert found.ended[DST] is over
    assert found.crash(DST) is None


# -- what was said, and when -------------------------------------------------------------


def stamped(t_ns: int, text: str) -> str:
    """A line of standard error as QEMU stamps it: microseconds, cut off."""
    second, ns = divmod(t_ns, 10**9)
    at = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{at}.{ns // 1000:06d}Z qemu: {text}"


def with_stderr(*lines: str, side=DST, story: Story | None = None):
    """A run that wrote ``lines``; all are recorded at its end, as in real runs."""
    story = story or Story()
    for line in lines:
        story.put(side, Stderr(line=line))
    return endings(history(scenario(), story.records))


def texts(pairs) -> list[str]:
    return [text.split("qemu: ")[-1] for _, text in pairs]


def test_warning_is_no_error():
    found = with_stderr("qemu: warning: no", "qemu: -device vfio-pci,id=vfio0: warning: no", "no")
    assert texts(found.texts(DST)) == ["no"]
    assert len(found.warnings(DST)) == 2


def test_refused_command_of_an_action_is_no_error_of_the_migration():
    story = Story()
    story.qmp(SRC, "device_del", error="vfio0 cannot be unplugged")
    story.qmp(SRC, "migrate", error="blocked")
    assert texts(endings(history(scenario(), story.records)).texts(SRC)) == ["blocked"]


FAILURE = START + 5_000_500


def test_error_from_before_the_failure_does_not_count():
    found = with_stderr(stamped(FAILURE - US, "early"), stamped(FAILURE, "then"))
    assert texts(found.errors_since(DST, FAILURE).certain) == ["then"]


def test_stamp_of_the_same_microsecond_counts():
    found = with_stderr(stamped(FAILURE - 499, "then"))
    assert texts(found.errors_since(DST, FAILURE).certain) == ["then"]


def test_line_without_a_stamp_may_have_come_since():
    found = with_stderr("early", stamped(FAILURE - US, "early"), "perhaps")
    said = found.errors_since(DST, FAILURE)
    assert texts(said.possible) == ["early", "perhaps"]
    assert said.certain == []


def test_line_behind_a_late_one_came_since():
    found = with_stderr(stamped(FAILURE, "then"), "and more of it")
    said = found.errors_since(DST, FAILURE)
    assert texts(said.certain) == ["then", "and more of it"]
    assert said.possible == []


def test_answer_has_the_time_of_its_record():
    story = Story()
    story.qmp(DST, "query-migrate", {"status": "failed", "error-desc": "before"})
    failed = story.at + 1
    story.qmp(DST, "query-migrate", {"status": "failed", "error-desc": "after"})
    found = endings(history(scenario(), story.records))
    assert texts(found.errors_since(DST, failed).certain) == ["after"]


def test_error_of_an_earlier_migration_is_not_of_this_one():
    story = Story()
    at = story.put("harness", Continued(after="failed")).t_ns
    lines = stamped(at - US, "earlier"), stamped(at + US, "now")
    assert texts(with_stderr(*lines, side=SRC, story=story).texts(SRC)) == ["now"]


# -- what the harness does after the deadline ----------------------------------------------


def given_up(status: str = "active") -> Story:
    """The destination has this status when the harness gives up."""
    story = Story()
    story.boot(scenario())
    story.qmp(DST, "migrate-incoming")
    story.qmp(SRC, "migrate")
    story.status(SRC, "setup", "active")
    story.status(DST, status)
    story.put("harness", Deadline(waiting_for="the end", deadline_s=15.0))
    return story


def line(story: Story, at_ns: int, words: str) -> Record:
    """A line of the destination's stderr that it wrote at that time; recorded now."""
    moment = datetime.fromtimestamp(at_ns // 10**9, UTC)
    stamp = f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ns % 10**9 // 1000:06d}Z"
    return story.put(DST, Stderr(line=f"{stamp} qemu: {words}"))


def test_status_that_came_of_the_harness_s_quit_is_none():
    story = given_up()
    story.qmp(DST, "quit")
    story.status(DST, "failed")
    found = endings(history(scenario(), story.records))
    assert found.status(DST) == "active"
    assert last_of(found, DST).args == {"status": "active"}


def test_answer_after_the_deadline_changes_no_status_and_says_why_a_side_had_failed():
    """Wrong if an error of the harness's own quitting counts, or if an earlier one is lost."""
    for status, texts in (("failed", ["no room"]), ("active", [])):
        story = given_up(status)
        story.qmp(DST, "query-migrate", {"status": "failed", "error-desc": "no room"})
        story.qmp(DST, "cont", error="it is quitting")
        found = endings(history(scenario(), story.records))
        assert found.status(DST) == status
        assert [text for _, text in found.texts(DST)] == texts


def test_line_counts_by_the_time_at_which_it_was_written():
    """All lines are recorded at the end of the process.  One without a time goes with the one
    before it."""
    story = given_up()
    gave_up = story.records[-1].t_ns
    story.put(DST, Stderr(line="first of all"))
    line(story, gave_up - MS, "early")
    story.put(DST, Stderr(line="with it"))
    line(story, gave_up + MS, "late")
    story.put(DST, Stderr(line="with that"))
    found = endings(history(scenario(), story.records))
    said = [text.split(": ")[-1] for _, text in found.texts(DST)]
    assert said == ["first of all", "early", "with it"]


def test_without_a_deadline_every_line_counts():
    story = Story()
    story.boot(scenario())
    line(story, story.at + 10**12, "late")
    assert len(endings(history(scenario(), story.records)).texts(DST)) == 1


@pytest.mark.parametrize(
    ("fields", "died"),
    [
        ({"status": 1, "signal": 0, "asked": True}, False),
        ({"status": 1, "signal": 0, "asked": False}, False),
        ({"status": -1, "signal": 15, "asked": True}, False),
        ({"status": -1, "signal": 11, "asked": True}, True),
    ],
)
def test_end_after_the_deadline_is_none_of_its_own_unless_by_a_signal_that_nobody_sent(
    fields, died
):
    story = given_up()
    story.put(DST, Exited(**fields))
    found = endings(history(scenario(), story.records))
    assert found.crash(DST) is None
    assert (found.died_quitting(DST) is not None) is died


def test_end_before_the_deadline_is_its_own():
    story = given_up()
    story.put(DST, Exited(status=1, signal=0, asked=False), t=story.at - 1)
    found = endings(history(scenario(), story.records))
    assert found.crash(DST) is not None
    assert found.died_quitting(DST) is None


def test_doings_after_the_deadline_are_no_evidence_and_what_the_harness_records_is():
    story = given_up()
    story.trace(DST, "vfio_load_bufs_thread_end", "vfio0")
    story.put(DST, Write(offset=0, asked=1, got=0, errno=5), "vfio0")
    lost = PacketLost(idx=1, state_flags=0, instance_id=0, size=1, digest="")
    story.put("harness", lost, "vfio0")
    story.add(DST, Kind.QMP, "RESUME")
    story.put("harness", Delivered(bytes=1, digest=""), "vfio0")
    received = Received(
        bytes=1, digest="", expected_bytes=1, expected_digest="", first_difference=-1
    )
    story.put(DST, received, "vfio0")
    story.qmp(DST, "query-status", {"status": "paused", "running": False})
    story.put(DST, Hung(waiting_for="the end", backtrace=""))
    run = Evidence(Seen(history(scenario(), story.records)), expect(scenario(), FACTS, FACTS))
    assert not run.trace(DST, "vfio_load_bufs_thread_end", "vfio0")
    assert not run.of(Write, DST)
    assert not run.of(PacketLost)
    assert not run.qmp(DST, "RESUME")
    assert run.of(Delivered)
    assert run.of(Received, DST, "vfio0")
    assert run.endings.commands(DST, "query-status", "return")
    assert run.endings.hung


# -- ends that the scenario wants ----------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "fields", "is_crash"),
    [
        ("quit", {}, False),
        ("system_powerdown", {}, False),
        ("human-monitor-command", {}, False),
        ("stop", {}, True),
        ("quit", {"status": 1}, True),
        ("quit", {"status": -1, "signal": 11}, True),
    ],
)
@pytest.mark.parametrize("target", Target)
def test_end_that_the_scenario_wants_is_no_crash(command, fields, is_crash, target):
    """Wrong if it excuses the other side, or another status than 0."""
    arguments = {"command-line": "quit"} if command.startswith("human") else {}
    wanted = Execute(when=When(), target=target, command=command, arguments=arguments)
    story, side = Story(), Side(target)
    other = DST if side is SRC else SRC
    story.put("harness", Action(action="", position=0))
    for each in (side, other):
        end = {"status": 0, "signal": 0, "asked": False, **(fields if each is side else {})}
        story.put(each, Exited(**end))
    found = endings(history(scenario(actions=(wanted,)), story.records))
    assert (found.crash(side) is not None) is is_crash
    assert found.crash(other) is not None


def test_end_before_the_quit_that_the_scenario_wants_is_a_crash():
    wanted = Execute(when=When(), target=Target.SOURCE, command="quit")
    story = Story()
    story.put(SRC, Exited(status=0, signal=0, asked=False))
    story.put("harness", Action(action="", position=0))
    assert endings(history(scenario(actions=(wanted,)), story.records)).crash(SRC) is not None
