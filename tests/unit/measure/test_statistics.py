"""Median, quartiles and the interval, against values worked out elsewhere."""

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.measure.statistics import difference, interval, is_shown, median, ratio, summary


@pytest.mark.parametrize(
    ("n", "low", "high", "coverage"),
    # Tables of the confidence interval of a median give these ranks for 95 %.
    [(6, 1, 6, 0.9688), (10, 2, 9, 0.9785), (20, 6, 15, 0.9586), (25, 8, 18, 0.9567)],
)
def test_interval_is_between_the_ranks_of_the_tables(n, low, high, coverage):
    values = [float(number) for number in range(1, n + 1)]
    random.Random(n).shuffle(values)
    found = interval(values)
    assert (found.low, found.high, found.coverage) == (low, high, coverage)


def test_fewer_than_six_values_give_no_interval():
    assert interval([1.0, 2.0, 3.0, 4.0, 5.0]) is None
    assert summary([1.0]).interval is None
    assert summary([]) is None


def test_interval_covers_the_true_median_as_often_as_it_says():
    draw = random.Random(1)
    times = 2000
    # The median of the exponential distribution, far from symmetric, is ln 2.
    found = (interval([draw.expovariate(1) for _ in range(20)]) for _ in range(times))
    hits = sum(each.low <= 0.693147 <= each.high for each in found)
    assert hits / times == pytest.approx(0.9586, abs=0.015)


@given(st.lists(st.floats(-1e6, 1e6), min_size=6, max_size=60))
def test_order_of_the_numbers_is_kept(values):
    found = summary(values)
    assert found.least <= found.interval.low <= found.median <= found.interval.high <= found.most
    assert found.lower_quartile <= found.median <= found.upper_quartile
    assert found.median == statistics.median(values)


def test_differences_are_of_the_rounds_in_which_both_were_measured():
    found = difference([3.0, None, 9.0, 4.0], [1.0, 1.0, None, 1.0])
    assert (found.n, found.median) == (2, 2.5)


def test_difference_is_shown_where_its_interval_leaves_out_0():
    up = [float(n) for n in range(1, 21)]
    assert is_shown(summary(up))
    assert is_shown(summary([-value for value in up]))
    assert not is_shown(summary([value - 10 for value in up]))
    assert not is_shown(summary([1.0]))


def test_median_leaves_out_what_was_not_measured():
    assert median([3.0, None, 1.0]) == 2.0
    assert median([None]) is None


def test_ratio_of_two_samples_lies_in_its_interval():
    before = [10.0, 11.0, 12.0, 13.0, 14.0, 15.0]
    found, within = ratio([2 * value for value in before], before)
    assert found == pytest.approx(2, abs=0.01)
    assert within is not None
    assert 1 < within.low < 2 < within.high < 4
    assert within.low == pytest.approx(1 / ratio(before, [2 * v for v in before])[1].high)


def test_ratio_of_few_values_has_no_interval():
    assert ratio([4.0] * 4, [2.0] * 20) == (2.0, None)


def test_ratio_covers_the_true_one_as_often_as_it_says():
    source = random.Random(1)
    hits = 0
    for _ in range(400):
        one = [3 * source.lognormvariate(0, 0.3) for _ in range(8)]
        other = [source.lognormvariate(0, 0.3) for _ in range(9)]
        within = ratio(one, other)[1]
        hits += within.low <= 3 <= within.high
    assert hits >= 0.93 * 400
