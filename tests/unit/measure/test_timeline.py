"""What the records say of each packet, wait and load, put together."""

import pytest

from harness.history import Side
from harness.measure.timeline import Span, Wait, timeline
from tests.unit.report.moments import (
    CONFIG,
    MS,
    START,
    arc,
    at,
    buffer,
    fault,
    loaded,
    memory,
    packet_in,
    packet_out,
    qmp,
    run,
)

SRC, DST = Side.SOURCE, Side.DESTINATION


def ns(ms):
    return START + int(ms * MS)


def device(*records, **fields):
    (story,) = timeline(run(*records, **fields)).devices
    return story


def depths(story):
    return [((t_ns - START) / MS, depth) for t_ns, depth in story.queue()]


def test_packet_has_its_way_from_the_source_to_the_device():
    (packet,) = device(
        packet_in(1, 0, channel=2, size=4096),
        packet_out(2, 0, channel=3, size=4096),
        buffer(3, "incoming", 0, channel=3),
        buffer(4, "load_start", 0),
        buffer(5, "load_end", 0),
    ).buffers
    assert (packet.sent_ns, packet.passed_ns, packet.arrived_ns) == (ns(1), ns(2), ns(3))
    assert (packet.taken_ns, packet.load_ns, packet.loaded_ns) == (ns(4), ns(4), ns(5))
    assert (packet.channel, packet.size, packet.is_config) == (3, 4096, False)


def test_channel_is_known_from_the_relay_where_the_trace_has_none():
    (packet,) = device(packet_in(1, 0, channel=2), packet_out(2, 0, channel=1)).buffers
    assert (packet.channel, packet.came_ns) == (1, ns(2))


def test_packet_that_came_twice_is_the_first_and_says_so():
    (packet,) = device(
        buffer(1, "incoming", 5, channel=0), buffer(2, "incoming", 5, channel=1)
    ).buffers
    assert (packet.arrived_ns, packet.channel, packet.repeats) == (ns(1), 0, 1)


def test_what_a_fault_did_to_a_packet_is_kept():
    (packet,) = device(packet_in(1, 3), fault(1, 3, "dropped")).buffers
    assert (packet.faults, packet.came_ns) == (["dropped"], None)


def test_repeated_wait_events_are_one_wait_with_the_channel_that_ended_it():
    waits = device(
        buffer(1, "starved", 0),
        buffer(2, "starved", 0),
        buffer(3, "incoming", 0, channel=6),
        buffer(4, "load_start", 0),
    ).waits
    assert waits == [Wait(0, ns(1), ns(4), 6)]


def test_wait_for_what_never_came_has_neither_end_nor_channel():
    waits = device(packet_in(1, 3, channel=2), buffer(2, "starved", 3)).waits
    assert waits == [Wait(3, ns(2), None, -1)]


def test_wait_for_the_next_packet_ends_the_one_before():
    """An empty packet has no load event."""
    waits = device(
        buffer(1, "starved", 0), buffer(2, "incoming", 0, channel=1), buffer(3, "starved", 1)
    ).waits
    assert waits == [Wait(0, ns(1), ns(3), 1), Wait(1, ns(3), None, -1)]


def test_last_packet_is_the_configuration_and_is_taken_when_that_is_loaded():
    story = device(
        buffer(1, "incoming", 1),
        buffer(2, "incoming", 0),
        buffer(3, "load_start", 0),
        buffer(4, "load_end", 0),
        at(5, f"{CONFIG}start", device="vfio0"),
        at(6, f"{CONFIG}end", device="vfio0"),
    )
    assert story.config == [Span("configuration", ns(5), ns(6))]
    last = story.buffers[-1]
    assert (last.is_config, last.load_ns, last.loaded_ns) == (True, ns(5), ns(6))


def test_queue_counts_what_came_and_was_not_taken():
    story = device(
        buffer(1, "incoming", 2),
        buffer(2, "incoming", 0),
        buffer(3, "load_start", 0),
        buffer(4, "incoming", 1),
        buffer(5, "load_start", 2),
    )
    assert depths(story) == [(1, 1), (2, 2), (3, 1), (4, 2), (5, 1), (5, 0)]


def test_packets_of_two_devices_are_not_mixed():
    found = timeline(
        run(
            buffer(1, "incoming", 0, channel=0, device="a"),
            buffer(2, "incoming", 0, channel=1, device="b"),
            devices=("a", "b"),
        )
    )
    assert [len(story.buffers) for story in found.devices] == [1, 1]
    assert found.channels == {0: [(ns(1), 0)], 1: [(ns(2), 1)]}


def test_states_begin_with_running_and_follow_the_path_that_was_walked():
    states = device(arc(3, SRC, "PRE_COPY", "STOP_COPY"), arc(5, SRC, "STOP")).states
    assert states == {
        SRC: [Span("RUNNING", 0, ns(3)), Span("STOP_COPY", ns(3), ns(5)), Span("STOP", ns(5), None)]
    }


def test_parts_of_the_downtime_follow_each_other_and_add_up_to_it():
    downtime = timeline(
        run(
            qmp(1, SRC, "STOP"),
            buffer(2, "incoming", 0),
            buffer(3, "incoming", 1),
            buffer(4, "load_start", 0),
            buffer(6, "load_end", 0),
            at(7, f"{CONFIG}start", device="vfio0"),
            at(8, f"{CONFIG}end", device="vfio0"),
            qmp(9, DST, "RESUME"),
        )
    ).downtime
    assert downtime is not None
    assert (downtime.begin_ns, downtime.end_ns, downtime.resumed) == (ns(1), ns(9), DST)
    ends = [part.end_ns for part in downtime.parts]
    assert ends == [ns(2), ns(3), ns(6), ns(8), ns(9)]
    assert [part.begin_ns for part in downtime.parts] == [downtime.begin_ns, *ends[:-1]]


def test_downtime_of_a_failed_migration_ends_where_the_source_runs_on():
    downtime = timeline(run(qmp(1, SRC, "STOP"), qmp(5, SRC, "RESUME"))).downtime
    assert downtime is not None
    assert (downtime.resumed, downtime.end_ns) == (SRC, ns(5))
    assert downtime.parts == (Span("until the source runs the guest", ns(1), ns(5)),)


def test_downtime_without_end_has_the_parts_that_were_seen():
    downtime = timeline(run(qmp(1, SRC, "STOP"), buffer(2, "incoming", 0))).downtime
    assert downtime is not None
    assert (downtime.resumed, downtime.end_ns, len(downtime.parts)) == (None, None, 1)


def test_resume_before_the_stop_is_of_the_start():
    downtime = timeline(run(qmp(1, SRC, "RESUME"), qmp(2, SRC, "STOP"))).downtime
    assert downtime is not None
    assert downtime.resumed is None


def test_what_waits_for_ever_does_not_stretch_the_time_that_is_shown():
    found = timeline(run(buffer(1, "incoming", 1), buffer(2, "starved", 0), ended_ms=10**6))
    assert ns(0) < found.begin_ns <= ns(1)
    assert ns(2) <= found.end_ns < ns(3)


def test_memory_without_a_resident_set_is_left_out():
    found = timeline(run(memory(1, hwm_kib=5), memory(2, hwm_kib=9, rss_kib=8)))
    assert [(m.resident_kib, m.highest_kib) for m in found.memory] == [(8, 9)]


@pytest.mark.parametrize("records", [(), (qmp(1, SRC, "MIGRATION", status="setup"),)])
def test_run_in_which_nothing_was_sent_has_no_time_to_show(records):
    found = timeline(run(*records))
    assert (found.begin_ns, found.end_ns, found.channels, found.downtime) == (0, 0, {}, None)


def test_every_packet_of_a_long_run_is_there():
    (story,) = timeline(loaded(1000)).devices
    assert len(story.buffers) == len(story.waits) == 1000
    assert max(depth for _, depth in story.queue()) == 1
