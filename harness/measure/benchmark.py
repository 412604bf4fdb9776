"""A benchmark of the harness: rows of figures, and how two benchmarks differ.

``ci/bench.py`` measures, ``report.benchmark_text`` renders, ``vfio-multifd compare`` reads two.
"""

import statistics as of_python
from collections.abc import Iterator
from pathlib import Path

import msgspec

from harness.errors import HistoryError, UsageError
from harness.measure import statistics
from harness.measure.statistics import Interval, Summary

FORMAT = "vfio-multifd benchmark 1"


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A limit of a row's figure.

    :ivar is_least: whether more is better
    """

    limit: float
    is_least: bool

    def is_met(self, figure: float) -> bool:
        """Whether ``figure`` is on the right side."""
        return figure >= self.limit if self.is_least else figure <= self.limit


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was measured, in several rounds.

    :ivar unit: of the values, as in ``ms``
    :ivar values: one for each round
    :ivar base: what they are divided by, measured in the same rounds; empty if nothing
    :ivar repeated: known deviation -> how many rounds it took, which were repeated
    :ivar failed: why it could not be measured; empty if it was
    """

    name: str
    goal: Goal
    unit: str
    values: tuple[float, ...] = ()
    base: tuple[float, ...] = ()
    repeated: dict[str, int] = {}
    failed: str = ""

    @property
    def figures(self) -> tuple[float, ...]:
        """One for each round: the ratio where there is a base, else the value."""
        if not self.base:
            return self.values
        return tuple(value / base for value, base in zip(self.values, self.base, strict=True))

    @property
    def summary(self) -> Summary | None:
        """Of the figures.  None if nothing was measured."""
        return statistics.summary(self.figures)

    @property
    def medians(self) -> tuple[float, ...]:
        """Of the values, and of the base if there is one."""
        return tuple(of_python.median(each) for each in (self.values, self.base) if each)


class Benchmark(msgspec.Struct, frozen=True, kw_only=True):
    """All rows, and where they were measured.

    :ivar date: ISO, in UTC
    :ivar machine: processors and kernel, as text
    :ivar load: load average of a minute, before and after
    """

    format: str = FORMAT
    harness: str
    date: str
    machine: str
    load: tuple[float, float]
    qemu: str
    rows: tuple[Row, ...]

    def row(self, name: str) -> Row | None:
        """The row of that name.  None if there is none."""
        return next((row for row in self.rows if row.name == name), None)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A row in two benchmarks.

    :ivar before: median of the figures
    :ivar after: the same
    :ivar ratio: after / before, the median over all pairs of rounds
    :ivar interval: of the ratio; None if there are too few rounds
    """

    name: str
    before: float
    after: float
    ratio: float
    interval: Interval | None
    is_more_better: bool

    @property
    def word(self) -> str:
        """``better`` or ``worse`` where the interval excludes 1, else that none is shown."""
        if self.interval is None:
            return "too few rounds"
        if self.interval.low <= 1 <= self.interval.high:
            return "no difference is shown"
        return "better" if (self.ratio > 1) == self.is_more_better else "worse"


def differences(before: Benchmark, after: Benchmark) -> Iterator[Difference]:
    """A difference for each row that was measured in both."""
    for now in after.rows:
        then = before.row(now.name)
        if then is None or not (then.figures and now.figures):
            continue
        ratio, interval = statistics.ratio(now.figures, then.figures)
        yield Difference(
            name=now.name,
            before=of_python.median(then.figures),
            after=of_python.median(now.figures),
            ratio=ratio,
            interval=interval,
            is_more_better=now.goal.is_least,
        )


def load(path: Path) -> Benchmark:
    """The benchmark in the file ``path``.

    :raise UsageError: it cannot be read, or is none
    :raise HistoryError: another harness wrote it in another format
    """
    try:
        data = path.read_bytes()
        found = msgspec.json.decode(data, type=_Any)
        if not found.format.startswith(FORMAT.rpartition(" ")[0]):
            raise UsageError(f"{path}: not a benchmark of ci/bench.py --json")
        if found.format != FORMAT:
            raise HistoryError(f"{path}: {found.format!r}, and this harness reads {FORMAT!r}")
        return msgspec.json.decode(data, type=Benchmark)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: not a benchmark of ci/bench.py --json: {error}") from error


class _Any(msgspec.Struct):
    """A file that may be a benchmark."""

    format: str
