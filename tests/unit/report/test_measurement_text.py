"""A measurement as text and as JSON."""

import json

from harness.report import measurement_text
from tests.unit.report.measurements import measurement as made
from tests.unit.report.measurements import run, series

LOW, HIGH = [10.0 + n / 10 for n in range(20)], [20.0 + n / 10 for n in range(20)]


def text(found):
    return "\n".join(measurement_text.lines(found))


def test_median_quartiles_and_interval_of_each_series_are_reported():
    told = text(made(series("transfer=off", LOW), series("transfer=on", HIGH)))
    assert "transfer=off  20   10.95  10.47 to 11.43               10.50 to 11.40" in told
    assert "transfer=on minus transfer=off, in 20 rounds: median +10.00" in told
    assert "+10.00 (+10.00 to +10.00): higher" in told
    assert "do not predict those of a real device" in told
    assert told.endswith("Measured.")


def test_difference_that_is_not_shown_is_not_called_one():
    mixed = [value + (1 if number % 2 else -1) for number, value in enumerate(LOW)]
    assert "no difference is shown" in text(made(series("a=1", LOW), series("b=1", mixed)))


def test_runs_that_are_left_out_are_counted_with_why_and_where():
    bad = run(900.0, "known deviation of SET-4: it hangs", "known deviation")
    found = made(series("a=1", [*LOW, 1.0]), series("b=1", HIGH, bad))
    told = text(found)
    assert "b=1: 20 of 21 runs count." in told
    assert "1 left out: known deviation of SET-4: it hangs; the first is runs/x-0001/" in told
    assert found.exit_status == 0
    assert "900" not in told


def test_too_few_runs_are_no_statistics():
    found = made(series("a=1", LOW[:19], run(None, "so", "unknown")))
    assert found.exit_status == 2
    assert "Too few runs of a series count" in text(found)


def test_where_nothing_counts_nothing_is_reported_as_measured():
    told = text(made(series("a=1", [], run(None, "so", "unknown"))))
    assert "No run counts: nothing was measured." in told


def test_interrupted_measurement_shows_what_it_has():
    found = made(series("a=1", LOW), is_interrupted=True)
    assert found.exit_status == 130
    assert text(found).startswith("INTERRUPTED after 20 rounds.")


def test_document_has_each_value_in_the_order_of_the_rounds():
    bad = run(900.0, "so")
    found = json.loads(
        measurement_text.document(made(series("a=1", LOW, bad), series("b=1", HIGH, bad)))
    )
    told = found["series"][0]["metrics"]["downtime_ms"]
    assert told["values"] == [*LOW, None]
    assert told["summary"]["n"] == 20
    (difference,) = [d for d in found["differences"] if d["metric"] == "downtime_ms"]
    assert (difference["series"], difference["against"]) == ("b=1", "a=1")
    assert difference["is_shown"]
    assert found["series"][0]["runs"][20]["left_out"] == "so"


def test_share_of_the_busiest_channel_and_memory_are_measured():
    told = text(made(series("a=1", LOW)))
    assert "packets on the busiest channel, % of all" in told
    assert "75.00" in told
    assert "destination memory, peak, MiB" in told
    assert "throughput" not in told.split("device:")[-1].split("part of the downtime")[-1]


def test_round_is_a_line():
    ends = {"a=1": run(1.25), "b=1": run(9.0, "so")}
    assert measurement_text.round_text(ends) == "a=1 1.2 ms, b=1 left out"
