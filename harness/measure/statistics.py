"""Statistics of a series of runs: few values, of no known distribution, with outliers.

Hence the median and quartiles, and for the median an interval that needs no assumption but
that the runs do not depend on each other: from the k-th smallest to the k-th largest value,
which covers the true median with a probability that follows from the binomial distribution
alone (the interval of the sign test; Conover, Practical Nonparametric Statistics).  Two
series that were run in turn are held against each other round by round, so that what the
machine did meanwhile falls out of the differences.
"""

import math
import statistics
from collections.abc import Iterable, Sequence

import msgspec

CONFIDENCE = 0.95
"""Of intervals, at least."""
FEWEST = 20
"""Runs that a series must have."""


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """Where the true median lies, with the probability ``coverage``."""

    low: float
    high: float
    coverage: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Of ``n`` values, in their unit.

    :ivar interval: None: fewer than six values cannot give one
    """

    n: int
    median: float
    lower_quartile: float
    upper_quartile: float
    least: float
    most: float
    interval: Interval | None


def summary(values: Sequence[float]) -> Summary | None:
    """None: there are no values."""
    if not values:
        return None
    if len(values) == 1:
        lower = upper = values[0]
    else:
        lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
    return Summary(
        n=len(values),
        median=statistics.median(values),
        lower_quartile=lower,
        upper_quartile=upper,
        least=min(values),
        most=max(values),
        interval=interval(values),
    )


def median(values: Iterable[float | None]) -> float | None:
    """Of the values that are not None.  None if there are none."""
    found = [value for value in values if value is not None]
    return statistics.median(found) if found else None


def interval(values: Sequence[float]) -> Interval | None:
    """The shortest symmetric one with at least ``CONFIDENCE``; None: there is none.

    It misses the median if fewer than k values, or all but fewer than k, lie below that:
    twice P(B < k) with B binomial, n tosses of a fair coin.
    """
    n = len(values)
    tail = 0.0
    found: tuple[int, float] | None = None
    for k in range(1, n // 2 + 1):
        tail += math.comb(n, k - 1) / 2**n
        if 1 - 2 * tail < CONFIDENCE:
            break
        found = k, 1 - 2 * tail
    if found is None:
        return None
    k, coverage = found
    ordered = sorted(values)
    return Interval(low=ordered[k - 1], high=ordered[n - k], coverage=round(coverage, 4))


def difference(values: Sequence[float | None], against: Sequence[float | None]) -> Summary | None:
    """Of ``values`` minus ``against`` in each round in which both were measured.

    :param values: one for each round; None: that run does not count
    """
    pairs = zip(values, against, strict=True)
    return summary([one - other for one, other in pairs if one is not None and other is not None])


def is_shown(found: Summary) -> bool:
    """Whether the interval of a difference leaves out 0."""
    return found.interval is not None and (found.interval.low > 0 or found.interval.high < 0)
