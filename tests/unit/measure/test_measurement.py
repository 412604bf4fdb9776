"""What a measurement says: its metrics, differences and exit status."""

import msgspec
import pytest

from harness.errors import INTERRUPTED
from harness.measure.measurement import Metric, difference, metrics, summary
from tests.unit.report.measurements import measurement as made
from tests.unit.report.measurements import run, series

LOW, HIGH = [10.0 + n / 10 for n in range(20)], [20.0 + n / 10 for n in range(20)]


def metric(found, key) -> Metric:
    return {each.key: each for each in metrics(found)}[key]


def with_parts(name, *parts):
    runs = [
        msgspec.structs.replace(
            each,
            measured=msgspec.structs.replace(each.measured, parts_ms=dict.fromkeys(parts, 1.0)),
        )
        for each in map(run, LOW)
    ]
    return series(name, [], *runs)


def test_metrics_are_those_that_a_run_has_measured():
    keys = {each.key for each in metrics(made(series("a=1", LOW)))}
    assert {"downtime_ms", "busiest_channel_percent", "destination_memory_mib"} <= keys
    assert "throughput_mib_s" not in keys


def test_share_of_the_busiest_channel_and_memory_are_measured():
    one = series("a=1", LOW)
    found = made(one)
    assert summary(one, metric(found, "busiest_channel_percent")).median == 75.0
    assert summary(one, metric(found, "destination_memory_mib")).median == 2.0


def test_difference_is_taken_round_by_round():
    low, high = series("a=1", LOW), series("b=1", HIGH)
    found = difference(high, low, metric(made(low, high), "downtime_ms"))
    assert (found.n, found.median) == (20, 10.0)


def test_run_that_does_not_count_has_no_value():
    one = series("a=1", LOW, run(900.0, "known deviation"))
    assert one.counted == 20
    assert one.values(metric(made(one), "downtime_ms")) == [*LOW, None]


def test_parts_are_compared_only_if_both_series_have_the_same_parts():
    a, b, c = with_parts("a", "x", "y"), with_parts("b", "y"), with_parts("c", "y", "x")
    part = metric(made(a, b, c), "part: y")
    assert difference(c, a, part) is not None
    assert difference(b, a, part) is None


@pytest.mark.parametrize(
    ("outcome", "status"), [("violated", 1), ("lost", 3), ("unknown", 0), ("known deviation", 0)]
)
def test_exit_status_is_that_of_the_worst_run(outcome, status):
    assert made(series("a=1", LOW, run(None, "so", outcome))).exit_status == status


def test_exit_status_is_2_if_too_few_runs_count():
    assert made(series("a=1", LOW[:19], run(None, "so", "unknown"))).exit_status == 2


def test_exit_status_of_an_interrupted_measurement_is_that_of_the_signal():
    assert made(series("a=1", LOW), is_interrupted=True).exit_status == INTERRUPTED
