"""A benchmark's rows, the difference of two, and files that are no benchmark."""

import msgspec
import pytest

from harness.errors import HistoryError, UsageError
from harness.measure import benchmark
from harness.measure.benchmark import FORMAT, Benchmark, Goal, Row

SLOW = tuple(float(value) for value in range(100, 115))


def made(*rows: Row) -> Benchmark:
    return Benchmark(
        harness="0", date="2026-11-28T03:00:00+00:00", machine="2 processors",
        load=(0.1, 0.2), qemu="QEMU 10.0.13", rows=rows,
    )  # fmt: skip


def row(name: str = "a", values=SLOW, *, is_least: bool = False, **fields) -> Row:
    goal = Goal(limit=100, is_least=is_least)
    return Row(name=name, goal=goal, unit="ms", values=values, **fields)


def test_figures_are_ratios_of_the_same_round():
    found = row(values=(10.0, 30.0), base=(5.0, 10.0))
    assert found.figures == (2.0, 3.0)
    assert found.medians == (20.0, 7.5)


@pytest.mark.parametrize(
    ("is_least", "factor", "word"),
    [
        (False, 2, "worse"),
        (False, 0.5, "better"),
        (True, 2, "better"),
        (True, 0.5, "worse"),
        (True, 1.01, "no difference is shown"),
    ],
)
def test_difference_has_a_direction(is_least, factor, word):
    after = row(values=tuple(value * factor for value in SLOW), is_least=is_least)
    (found,) = benchmark.differences(made(row(is_least=is_least)), made(after))
    assert found.word == word
    assert found.ratio == pytest.approx(factor)
    assert found.before == 107
    assert found.after == pytest.approx(107 * factor)


def test_few_rounds_show_nothing():
    (found,) = benchmark.differences(made(row(values=(1.0,))), made(row(values=(9.0,))))
    assert found.word == "too few rounds"


def test_only_what_was_measured_in_both_is_compared():
    before, after = made(row("a"), row("b", ()), row("c")), made(row("b"), row("c"), row("d"))
    assert [each.name for each in benchmark.differences(before, after)] == ["c"]


def test_goal():
    assert Goal(limit=3, is_least=False).is_met(3)
    assert not Goal(limit=3, is_least=False).is_met(3.1)
    assert Goal(limit=0.95, is_least=True).is_met(0.95)
    assert not Goal(limit=0.95, is_least=True).is_met(0.9)


def test_file_is_read_again(tmp_path):
    found, path = made(row(repeated={"x": 2})), tmp_path / "a.json"
    path.write_bytes(msgspec.json.encode(found))
    assert benchmark.load(path) == found


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "other"}', f'{{"format": "{FORMAT}"}}']
)
def test_file_that_is_none(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"a\.json: not a benchmark"):
        benchmark.load(path)


def test_file_of_another_format(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"format": "vfio-multifd benchmark 2"}')
    with pytest.raises(HistoryError, match="benchmark 2"):
        benchmark.load(path)


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        benchmark.load(tmp_path / "gone")
