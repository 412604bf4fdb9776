"""A benchmark as text."""

import pytest

from harness.measure import benchmark
from harness.report import benchmark_text
from tests.unit.measure.test_benchmark import made, row


def test_table_has_the_ratio_the_medians_and_the_rounds_that_were_repeated():
    one = row("x / y", (10.0, 20.0, 30.0), base=(5.0, 5.0, 5.0), repeated={"set-4": 2})
    lines = list(benchmark_text.lines(made(one)))
    assert (
        lines[2] == "| x / y | 4 (20 / 5 ms, 3 rounds, 2 more met set-4) | 3 to 5 | at most 100 |"
    )
    assert lines[-1] == ("2026-11-28, QEMU 10.0.13, 2 processors; load average 0.1, then 0.2.")


def test_value_without_a_base_has_its_unit():
    assert benchmark_text.figure(row(values=(42.25,))) == "42.2 ms"
    assert benchmark_text.goal(row(is_least=True)) == "at least 100 ms"
    assert benchmark_text.spread(row(values=(42.25,))) == "-"


def test_row_that_failed_says_why():
    one = row("x", (), failed="it did not end")
    assert "| x | could not be measured: it did not end |" in "\n".join(
        benchmark_text.lines(made(one))
    )
    assert "it did not end" in benchmark_text.progress(one)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0421, "0.0421"), (2.5, "2.5"), (99.96, "100"), (123.4, "123"), (277000, "277,000")],
)
def test_number(value, text):
    assert benchmark_text.number(value) == text


def test_comparison_names_what_only_one_has():
    before, after = made(row("a"), row("b")), made(row("b"), row("c"))
    found = list(benchmark.differences(before, after))
    lines = list(benchmark_text.compared(before, after, found))
    assert any("b " in line and "no difference is shown" in line for line in lines)
    assert lines[-2:] == ["Measured before only: a.", "Measured after only: c."]
