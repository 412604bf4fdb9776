"""Shapes of the HTML report's charts: in their places, and never too many."""

import pytest

from harness.history import Side
from harness.measure.timeline import timeline
from harness.report.charts import charts, duration
from tests.unit.report.moments import (
    MS,
    START,
    arc,
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


def drawn(history):
    return {chart.title: chart for chart in charts(timeline(history), START)}


def lanes(chart):
    return {lane.name: lane for lane in chart.lanes}


def of_device(history):
    return drawn(history)["vfio0: arrival, wait, load"]


def test_everything_lies_within_the_width():
    history = run(
        qmp(1, SRC, "STOP"),
        arc(1, SRC, "STOP_COPY"),
        buffer(2, "starved", 0),
        packet_in(2, 0, channel=1),
        buffer(4, "incoming", 0, channel=1),
        buffer(5, "load_start", 0),
        buffer(6, "load_end", 0),
        buffer(7, "starved", 1),
        qmp(900, DST, "MIGRATION", status="failed"),
    )
    for chart in drawn(history).values():
        for bar in (bar for lane in chart.lanes for bar in lane.bars):
            assert 0 <= bar.x <= bar.x + bar.width <= 100.01, bar
        assert 0 < len(chart.ticks) <= 7
        assert all(0 < x < 100 for x, _ in chart.ticks)


def test_wait_is_labelled_with_the_packet_and_the_channel_that_brought_it():
    history = run(
        buffer(1, "starved", 4), buffer(9, "incoming", 4, channel=6), buffer(10, "load_start", 4)
    )
    (bar,) = lanes(of_device(history))["waits for a packet"].bars
    assert bar.label == "4 ch 6"
    assert bar.title == "waits for packet 4, which arrived on channel 6: 9.000 ms"


def test_wait_for_what_never_came_lasts_to_the_edge_and_says_so():
    history = run(buffer(1, "incoming", 5, channel=0), buffer(3, "starved", 4))
    history.records.append(buffer(9, "incoming", 6, channel=0))
    (bar,) = lanes(of_device(history))["waits for a packet"].bars
    assert bar.label == "4 never"
    assert bar.title == "waits for packet 4, which never arrived: to the end"
    assert bar.x + bar.width == pytest.approx(100, abs=0.2)


def test_row_of_a_packet_shows_relay_queue_load_and_fault():
    history = run(
        packet_in(1, 0, channel=1),
        fault(1, 0, "held", "hold"),
        packet_out(3, 0, channel=1),
        buffer(4, "incoming", 0, channel=1),
        buffer(6, "load_start", 0),
        buffer(9, "load_end", 0),
    )
    bars = lanes(of_device(history))["packet 0"].bars
    assert [(bar.style, bar.title) for bar in bars] == [
        ("relayed", "packet 0 in the relay: 3.000 ms"),
        ("queued", "packet 0 queued, arrived on channel 1: 2.000 ms"),
        ("load", "packet 0 loading: 3.000 ms"),
        ("fault", "packet 0: held"),
    ]


def test_packet_that_never_came_is_on_its_way_to_the_end():
    history = run(packet_in(1, 3), packet_in(9, 4), packet_out(9, 4))
    bars = lanes(of_device(history))["packets 3 (top) to 4"].bars
    assert bars[0].title == "packet 3 left the source and never arrived: to the end"
    assert bars[0].x + bars[0].width == 100


def test_packet_that_came_again_is_marked():
    history = run(buffer(1, "incoming", 0, channel=1), buffer(2, "incoming", 0, channel=2))
    bars = lanes(of_device(history))["packet 0"].bars
    assert [bar.title for bar in bars if bar.style == "fault"] == ["packet 0: arrived again"]


def test_channels_show_how_many_packets_came():
    history = loaded(10, channels=3)
    names = [lane.name for lane in drawn(history)["Packets arriving on each channel"].lanes]
    assert names == ["channel 0: 4 packets", "channel 1: 3 packets", "channel 2: 3 packets"]


def test_more_channels_than_can_be_drawn_are_counted():
    chart = drawn(loaded(60, channels=60))["Packets arriving on each channel"]
    assert len(chart.lanes) == 32
    assert chart.note == "28 more channels are not drawn."


def shapes(chart):
    return sum(
        len(lane.bars) + sum(len(path.d) // 10 for path in lane.paths) for lane in chart.lanes
    )


def test_long_run_has_no_more_shapes_than_can_be_seen():
    chart = of_device(loaded(20_000))
    assert shapes(chart) < 3000
    assert chart.note == "Each row is 209 packets: 20000 are too many to draw."
    names = lanes(chart)
    assert "packets 0 (top) to 19999" in names
    assert names["loads"].bars[0].title.startswith("86 times within ")


def test_queue_shows_its_highest_step_however_short():
    """Ten packets are there for a moment, in a run of many."""
    history = loaded(2000)
    history.records.extend(buffer(100, "incoming", 5000 + n, channel=0) for n in range(10))
    history.records.extend(buffer(100.001, "load_start", 5000 + n) for n in range(10))
    history.records.sort(key=lambda record: record.t_ns)
    (lane,) = [lane for lane in of_device(history).lanes if lane.name.startswith("queued")]
    assert lane.name == "queued packets, at most 10"
    assert "V4" in lane.paths[0].d  # 96 of 100 up


def test_states_and_downtime_are_reported_by_side():
    history = run(
        qmp(0, SRC, "MIGRATION", status="active"),
        arc(1, SRC, "STOP_COPY"),
        arc(1, DST, "RESUMING"),
        qmp(2, SRC, "STOP"),
        qmp(90, DST, "RESUME"),
    )
    chart = drawn(history)["Downtime and states"]
    assert list(lanes(chart)) == [
        "downtime",
        "source: migration",
        "source: vfio0",
        "destination: migration",
        "destination: vfio0",
    ]
    (bar,) = lanes(chart)["downtime"].bars
    assert bar.title == "until the destination runs the guest: 88.000 ms"
    assert lanes(chart)["source: vfio0"].bars[-1].label == "STOP_COPY"


def test_guest_that_does_not_run_again_is_shown():
    history = run(qmp(1, SRC, "STOP"), buffer(2, "incoming", 0, channel=0))
    history.records.append(buffer(9, "starved", 1))
    chart = drawn(history)["Downtime and states"]
    last = lanes(chart)["downtime"].bars[-1]
    assert last.title == "the guest does not run: to the end"


def test_memory_has_its_samples_and_the_high_water_mark():
    history = run(memory(1, rss_kib=1024, hwm_kib=1024), memory(9, rss_kib=2048, hwm_kib=4096))
    (lane,) = drawn(history)["Memory of the destination"].lanes
    assert lane.name == "resident set in 2 samples: 1.0 MiB, then 2.0 MiB; at most 4.0 MiB"
    assert [path.style for path in lane.paths] == ["depth", "highest"]


def test_memory_while_it_migrates_is_drawn_over_the_time_of_the_other_charts():
    samples = (memory(ms, rss_kib=1024, hwm_kib=1024) for ms in (1, 101, 105, 900))
    moments = (buffer(100, "incoming", 0, channel=0), buffer(110, "load_start", 0))
    charts = drawn(run(*samples, *moments))
    assert charts["Memory of the destination"].ticks == charts["Downtime and states"].ticks


def test_run_in_which_nothing_happened_has_no_chart():
    assert drawn(run()) == {}


@pytest.mark.parametrize(
    ("end_ns", "words"), [(1_234_567, "1.235 ms"), (None, "to the end"), (0, "0.000 ms")]
)
def test_length_of_a_span_in_words(end_ns, words):
    assert duration(0, end_ns) == words


@pytest.mark.parametrize("length_ms", [0.01, 1, 17, 2000, 60_000])
def test_axis_has_round_times_whatever_the_length(length_ms):
    history = run(buffer(5, "incoming", 0), buffer(5 + length_ms, "incoming", 1))
    ticks = of_device(history).ticks
    assert 1 <= len(ticks) <= 7
    values = [float(text.removesuffix(" ms")) for _, text in ticks]
    assert values == sorted(set(values))
    assert all(5 - length_ms <= value <= 5 + 2 * length_ms for value in values)
    assert MS * values[0] == pytest.approx(round(MS * values[0]))
