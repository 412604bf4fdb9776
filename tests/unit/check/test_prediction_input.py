"""From wire records to the prediction, and from the prediction to the ending."""

import pytest

from harness.check.evidence import CONFIG_START, Evidence, Seen
from harness.check.prediction_input import KINDS, delivery, predicted, seen_end
from harness.history.records import Kind, Record
from harness.history.wire import Fault, MainResumed, MainStalled, PacketLost, RawOut
from harness.model.expectation import Ending, expect
from harness.model.prediction import Outcome
from harness.scenario import MIB
from harness.scenario.fault_plan import CloseChannel, Drop
from tests.unit.check.histories import changed, completed, good, only, with_args, without
from tests.unit.check.relayed import Relayed, config, missing_packet, packet, refused, whole
from tests.unit.check.story import CONFIG_BLOB, DST, FACTS, SECOND, SRC, device, scenario


def expected(run) -> Evidence:
    seen = Seen(run)
    return Evidence(seen, *predicted(seen, expect(run.scenario, FACTS, FACTS)))


# -- when there is a prediction ----------------------------------------------------------


@pytest.mark.parametrize("name", ["multifd", "relayed"])
def test_run_without_faults_is_judged_by_its_scenario(name):
    run = expected(good(name))
    assert run.prediction is None
    assert run.expectation.ending is Ending.COMPLETED


DROPPED = Fault(fault="drop", position=0, what="")


def test_run_that_does_not_get_that_far_is_judged_by_its_scenario():
    run = good("refused")
    fault = Record.of(run.records[-1].t_ns, SRC, DROPPED)
    checked = expected(changed(run, [*run.records, fault]))
    assert checked.prediction is None
    assert checked.expectation.ending is Ending.REFUSED_AT_SETUP


def test_what_is_delivered_in_tls_is_not_predicted():
    """Connections were held: no packet was seen, and all of them went through."""
    run = good("tls")
    held = Fault(fault="hold_connections", position=0, what="")
    fault = Record.of(run.records[-1].t_ns, SRC, held)
    checked = expected(changed(run, [*run.records, fault]))
    assert checked.prediction is None
    assert checked.expectation.ending is Ending.COMPLETED


@pytest.mark.parametrize(
    ("name", "ending"),
    [("duplicate", Ending.REFUSED_IN_LOAD), ("missing packet", Ending.WAITING)],
)
def test_ending_follows_what_was_delivered(name, ending):
    run = expected(good(name))
    assert run.expectation.ending is ending
    assert run.prediction is not None
    assert len(run.delivered) > 0


def late_duplicate():
    story = Relayed(scenario())
    story.send()
    story.fault("duplicate", idx=3)
    story.deliver(*whole(), packet(3))
    return story


def test_of_several_endings_the_one_that_was_seen_is_taken():
    assert expected(late_duplicate().completed()).expectation.ending is Ending.COMPLETED
    run = expected(late_duplicate().refused("x"))
    assert run.expectation.ending is Ending.REFUSED_IN_LOAD


def test_of_several_endings_none_is_taken_where_another_was_seen():
    assert expected(late_duplicate().waits()).expectation.ending is Ending.OPEN


# -- what is read from the records -------------------------------------------------------


def given(run):
    evidence = expected(run)
    return delivery(evidence, evidence.expectation, evidence.delivered)


def test_packets_come_in_the_order_of_delivery():
    packets = given(good("duplicate")).packets
    assert [p.idx for p in packets] == [0, 1, 2, 3, 3, 4]
    assert [p.number for p in packets] == list(range(6))
    assert packets[-1].is_config
    assert packets[-1].marker == "ffffffffef100002"
    assert packets[0].size == MIB


def test_header_fields_are_taken_over():
    (changed_packet,) = given(
        refused([packet(2, magic=7, flags=0x41, state_version=3, next_packet_size=9)], "x")
    ).packets
    assert (changed_packet.magic, changed_packet.flags) == (7, 0x41)
    assert (changed_packet.state_version, changed_packet.next_packet_size) == (3, 9)
    assert changed_packet.version is None


@pytest.mark.parametrize(("idstr", "has_end"), [(b"x" * 255 + b"\0", True), (b"x" * 256, False)])
def test_idstr_without_an_end(idstr, has_end):
    story = Relayed(scenario())
    story.fault("rewrite")
    story.deliver(packet(0, idstr=idstr.hex()), of="")
    assert given(story.refused("x")).packets[0].has_idstr_end is has_end


def test_what_the_source_sent():
    sent = given(good("duplicate")).sent["vfio0"]
    assert sent.is_whole
    assert (sent.config_idx, sent.config_size, sent.config_digest) == (4, CONFIG_BLOB, "c")


def test_packet_lost_to_a_destination_that_had_closed_counts_as_delivered():
    story = Relayed(scenario())
    story.send()
    story.fault("duplicate", idx=0)
    story.deliver(*whole()[:4])
    story.wire(PacketLost(**config(4)), 0, "vfio0")
    assert [p.idx for p in given(story.refused("x")).packets] == [0, 1, 2, 3, 4]


def test_packet_lost_to_a_fault_that_closed_its_channel_does_not():
    story = Relayed(scenario())
    story.send()
    story.fault("close_channel", 1)
    story.fault("cut_stream", -1)
    story.wire(PacketLost(**packet(0)), 1, "vfio0")
    found = given(story.refused("x"))
    assert found.packets == ()
    assert found.closed == (1, -1)


@pytest.mark.parametrize("closes", [True, False])
def test_fault_of_a_new_kind_says_itself_whether_it_closes(monkeypatch, closes):
    kind = CloseChannel if closes else Drop
    monkeypatch.setitem(KINDS, "hang_up", kind)
    story = Relayed(scenario())
    story.send()
    story.fault("hang_up", 1)
    assert given(story.refused("x")).closed == ((1,) if closes else ())


def test_pieces_stand_behind_the_packets_before_them():
    story = Relayed(scenario())
    story.fault("cut_stream")
    story.deliver(packet(0), packet(1))
    story.wire(RawOut(size=99), 0)
    story.deliver(packet(2))
    (piece,) = given(story.refused("x")).pieces
    assert piece.after == 1


def test_stall_of_the_main_channel_and_limits():
    story = Relayed(
        scenario(device(properties={"x-migration-max-queued-buffers-size": 5}), device("b", seed=2))
    )
    story.fault("stall_main", -1)
    story.wire(MainStalled())
    resumed = story.wire(MainResumed())
    found = given(story.refused("x"))
    assert found.resumed_ns == resumed.t_ns
    assert found.limits == {"vfio0": 5}


def told(*incoming, is_loaded=True):
    """Numbers of packets known to be read, of 0, 1, 2 on channel 0 and 3, 3 on channel 1."""
    story = Relayed(scenario())
    story.fault("duplicate")
    story.deliver(*whole()[:3])
    story.deliver(packet(3), packet(3), channel=1)
    for idx, channel in incoming:
        story.read(idx, channel=channel)
    if is_loaded:
        story.trace(DST, CONFIG_START, "vfio0")
    story.read(2, channel=0)
    return [p.number for p in given(story.completed()).packets if p.is_read]


def test_what_came_in_before_the_configuration_was_loaded_is_read():
    assert told((0, 0), (3, 1)) == [0, 3]
    assert told((1, 0), (3, 1), (3, 1)) == [0, 1, 3, 4]
    assert told((3, 0)) == []
    assert told((1, 0), is_loaded=False) == []


# -- how it ended ------------------------------------------------------------------------


def test_ends_that_were_seen():
    assert seen_end(expected(good("multifd"))) is Outcome.COMPLETED
    assert seen_end(expected(good("duplicate"))) is Outcome.REFUSED
    assert seen_end(expected(good("missing packet"))) is Outcome.WAITING
    assert seen_end(expected(without(completed(scenario()), "MIGRATION", "RESUME", "return"))) is (
        None
    )


def test_exit_with_status_1_is_a_refusal_too():
    run = without(good("duplicate"), "MIGRATION", "return", side=DST)
    end = only(run, "exited", side=DST)[0]
    args = {"status": 1, "signal": 0, "asked": False}
    assert seen_end(expected(with_args(run, end, **args))) is Outcome.REFUSED
    args = {"status": -1, "signal": 6, "asked": False}
    assert seen_end(expected(with_args(run, end, **args))) is None


def test_failure_behind_the_deadline_is_the_harness_doing():
    run = missing_packet()
    failed = Record(run.records[-1].t_ns + SECOND, DST, Kind.QMP, "MIGRATION", {"status": "failed"})
    assert seen_end(expected(changed(run, [*run.records, failed]))) is Outcome.WAITING


def test_packets_of_several_migrations_are_not_told_apart():
    run = good("duplicate")
    again = Record(run.records[-1].t_ns, SRC, Kind.QMP, "execute", {"command": "migrate"})
    assert expected(changed(run, [*run.records, again])).prediction is None
