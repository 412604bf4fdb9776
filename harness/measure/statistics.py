"""Statistics of a series of runs: few values, an unknown distribution, outliers.

Hence the median and the quartiles.  The interval of the median goes from the k-th smallest to
the k-th largest value; it assumes only that the runs are independent.  The probability that it
covers the true median follows from the binomial distribution (the interval of the sign test;
Conover, Practical Nonparametric Statistics).  Two series are compared round by round, so that
other load of the machine cancels out.
"""

import math
import statistics
from collections.abc import Iterable, Sequence

import msgspec

CONFIDENCE = 0.95
"""The least coverage of an interval."""
FEWEST = 20
"""The least number of runs of a series."""
FEWEST_OF_TWO = 5
"""The least number of values of each of two samples that are compared."""


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """Contains the true median with the probability ``coverage``."""

    low: float
    high: float
    coverage: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Of ``n`` values, in their unit.

    :ivar interval: None if there are fewer than six values
    """

    n: int
    median: float
    lower_quartile: float
    upper_quartile: float
    least: float
    most: float
    interval: Interval | None


def summary(values: Sequence[float]) -> Summary | None:
    """The summary of ``values``.  None if there are none."""
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
    """The shortest symmetric interval with at least ``CONFIDENCE``.  None if there is none.

    It misses the median if fewer than k values are below the median, or fewer than k above it.
    The probability is twice P(B < k), where B is the number of heads in n tosses of a fair coin.
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
    """The summary of ``values`` minus ``against``, over the rounds in which both were measured.

    :param values: one for each round.  None if that run does not count
    """
    pairs = zip(values, against, strict=True)
    return summary([one - other for one, other in pairs if one is not None and other is not None])


def is_shown(found: Summary) -> bool:
    """Whether the interval of a difference excludes 0."""
    return found.interval is not None and (found.interval.low > 0 or found.interval.high < 0)


def ratio(values: Sequence[float], against: Sequence[float]) -> tuple[float, Interval | None]:
    """``values`` / ``against`` of two samples that were not measured in turn.

    It is the median over all pairs of one value each.  The interval goes from the k-th smallest to
    the k-th largest of these, and assumes that the two distributions have the same form but for
    their scale (Hodges and Lehmann; k from the normal approximation of the rank-sum test).  It is
    None if one sample has fewer than five values.  All values are above 0.
    """
    pairs = sorted(one / other for one in values for other in against)
    if min(len(values), len(against)) < FEWEST_OF_TWO:
        return statistics.median(pairs), None
    spread = math.sqrt(len(pairs) * (len(values) + len(against) + 1) / 12)
    tail = statistics.NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / 2)
    k = math.floor(len(pairs) / 2 - tail * spread)
    found = Interval(low=pairs[k - 1], high=pairs[-k], coverage=CONFIDENCE) if k >= 1 else None
    return statistics.median(pairs), found
