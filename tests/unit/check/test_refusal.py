"""Refusals: asked by what was delivered, judged by how the destination ended."""

import pytest

from harness.check.hang import RECV_END
from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.process import Hung
from harness.history.records import Record
from tests.twins.damage import one, pick, swap
from tests.unit.check.histories import changed, find, good, only, with_args, without
from tests.unit.check.relayed import FILLED, Relayed, config, packet, refused, whole
from tests.unit.check.story import DST, SRC, scenario

DUPLICATE = [*whole()[:4], *whole()[3:]]


def not_applicable(run, requirement):
    return judge(run).not_applicable.get(requirement, "it was asked")


# -- when it is asked --------------------------------------------------------------------


def test_run_without_faults_asks_for_no_refusal():
    assert not_applicable(good("multifd"), "REF-1") == "the scenario has no faults"


def test_faults_that_changed_nothing_ask_for_no_refusal():
    run = without(good("duplicate"), "fault")
    assert not_applicable(run, "REF-1") == "no fault changed what was delivered"


def test_kind_that_was_not_delivered_is_not_asked():
    assert not_applicable(good("duplicate"), "REF-4") == "nothing that it concerns was delivered"


def late_duplicate():
    story = Relayed(scenario())
    story.send()
    story.fault("duplicate", idx=3)
    story.deliver(*whole(), packet(3))
    return story


def test_packet_that_came_when_all_was_there_is_asked_only_where_it_was_refused():
    run = late_duplicate().completed()
    assert "too late to matter" in not_applicable(run, "REF-1")
    assert find(late_duplicate().refused(FILLED), "REF-1").outcome is Outcome.VALID


def test_of_two_things_that_are_wrong_the_one_that_was_told_is_asked():
    packets = whole(packet(2, state_version=3, instance_id=5))
    run = refused(packets, "vfio0: packet has unknown version 3")
    assert find(run, "REF-4").outcome is Outcome.VALID
    assert not_applicable(run, "REF-9") == "the destination refused something else: REF-4"


def test_text_that_nobody_knows_leaves_all_of_them_asked():
    packets = whole(packet(2, state_version=3, instance_id=5))
    run = refused(packets, "vfio0: this will not do")
    assert find(run, "REF-4").outcome is Outcome.VALID
    assert find(run, "REF-9").outcome is Outcome.VALID


# -- how it is judged --------------------------------------------------------------------


def test_refusal_tells_what_was_said():
    finding = find(good("duplicate"), "REF-1")
    assert finding.outcome is Outcome.VALID
    assert finding.sentence == (
        "packet 3 of vfio0 on channel 0: its index comes twice: it was refused"
    )
    assert finding.numbers == {"said": FILLED, "is_text_known": True}


def test_exit_with_status_1_is_a_refusal():
    run = good("duplicate")
    end = only(run, "exited", side=DST)[0]
    exited = with_args(run, end, status=1, signal=0, asked=False)
    assert find(exited, "REF-1").outcome is Outcome.VALID


@pytest.mark.parametrize(
    ("side", "args", "how"),
    [
        (DST, {"status": -1, "signal": 6, "asked": False}, "by signal 6"),
        (DST, {"status": -1, "signal": 11, "asked": True}, "by signal 11"),
        (DST, {"status": 2, "signal": 0, "asked": False}, "by itself"),
        (SRC, {"status": 1, "signal": 0, "asked": False}, "by itself"),
    ],
)
def test_death_is_no_refusal(side, args, how):
    run = good("duplicate")
    end = only(run, "exited", side=side)[0]
    finding = find(with_args(run, end, **args), "REF-1")
    assert finding.outcome is Outcome.VIOLATED
    assert f"the {side} QEMU ended {how}" in finding.sentence
    last_words = ["stderr"] if side is DST else []  # the story's source says nothing
    names = [record.name for record in finding.evidence]
    assert names == ["packet_out", "exited", *last_words]


@pytest.mark.parametrize(
    ("extra", "shape"),
    [
        ([config(5)], "accepted-second-configuration-above"),
        ([packet(5)], "accepted-data-after-configuration"),
    ],
)
def test_acceptance_has_the_kind_of_damage_in_its_shape(extra, shape):
    story = Relayed(scenario())
    story.send()
    story.fault("inject", idx=5)
    story.deliver(*whole()[1:], *extra, packet(0))
    finding = find(story.completed(), "REF-7")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, shape)


def test_deaths_by_two_signals_are_two_shapes():
    run = good("duplicate")
    end = only(run, "exited", side=DST)[0]
    shapes = [
        find(with_args(run, end, status=-1, signal=n, asked=False), "REF-1").shape for n in (6, 11)
    ]
    assert shapes == ["signal-6-index-twice", "signal-11-index-twice"]


def test_deadline_is_no_refusal():
    story = Relayed(scenario())
    story.send()
    story.fault("duplicate")
    story.deliver(*DUPLICATE)
    finding = find(story.waits(), "REF-1")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.sentence.endswith("had not failed by the deadline: the reason is not known")


def test_deadline_tells_who_waits():
    story = Relayed(scenario())
    story.send()
    story.fault("duplicate")
    story.deliver(*DUPLICATE)
    starved = story.starve(2)
    ended = story.trace(DST, RECV_END, id=0, tid=200)
    finding = find(story.waits(), "REF-1")
    assert "deadline: the destination's load thread of vfio0 waits for packet 2" in finding.sentence
    assert finding.evidence[-2:] == (starved, ended)


def test_waiting_is_right_where_a_length_eats_what_follows():
    story = Relayed(scenario())
    story.send()
    story.fault("truncate")
    story.deliver(*whole(packet(2, 5, next_packet_size=1 << 20)))
    run = story.waits()
    assert find(run, "REF-10").outcome is Outcome.VALID
    assert find(run, "RUN").outcome is Outcome.VALID


def test_destination_that_fails_and_hangs_has_not_refused():
    run = good("duplicate")
    at = one(run.records, "MIGRATION", side=DST).t_ns + 1
    hung = Record.of(at, DST, Hung(waiting_for="query-migrate", backtrace=""))
    finding = find(changed(run, [*run.records, hung]), "REF-1")
    assert "the destination failed and hung" in finding.sentence


def test_source_that_cannot_run_on_is_lost():
    run = good("duplicate")
    answer = one(run.records, "return", side=SRC, command="query-status")
    lost = swap(list(run.records), [answer], value={"status": "internal-error"})
    assert "the source is lost" in find(changed(run, lost), "REF-1").sentence


def test_source_that_completed_is_another_requirements():
    run = good("duplicate")
    told = pick(run.records, "MIGRATION", side=SRC, status="failed")
    done = changed(run, swap(list(run.records), told, status="completed"))
    assert find(done, "REF-1").outcome is Outcome.VALID


def test_text_about_something_else_is_no_refusal_of_this():
    run = refused(DUPLICATE, "vfio0: writing state buffer 1 failed: 5")
    finding = find(run, "REF-1")
    assert finding.outcome is Outcome.VIOLATED
    assert "it was refused for something else" in finding.sentence


def test_failure_without_a_word_is_unknown():
    run = without(good("duplicate"), "stderr")
    answers = pick(run.records, "return", side=DST, command="query-migrate")
    silent = changed(run, swap(list(run.records), answers, value={"status": "failed"}))
    assert find(silent, "REF-1").outcome is Outcome.UNKNOWN


def test_end_that_nobody_saw_is_unknown():
    run = without(good("duplicate"), "MIGRATION", "return", "stderr")
    finding = find(run, "REF-1")
    assert finding.sentence == "there is no record of how the destination ended"


def test_without_the_ends_of_the_processes_it_is_never_valid():
    assert find(without(good("duplicate"), "exited"), "REF-1").outcome is Outcome.UNKNOWN


def test_packet_without_an_index_is_told_so():
    finding = find(good("short packet"), "REF-3")
    assert finding.sentence.startswith("packet without an index of vfio0 on channel 0: ")


def test_any_text_may_be_right_on_a_damaged_channel():
    run = refused(whole(packet(2, next_packet_size=1 << 30)), "vfio0: packet index is invalid")
    assert find(run, "REF-10").outcome is Outcome.VALID
