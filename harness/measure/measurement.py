"""A measurement: several series of runs, the metrics of each run, and their statistics.

``report.measurement_text`` and ``report.plot`` render it.
"""

from collections.abc import Callable

import msgspec

from harness.errors import INTERRUPTED, LOST
from harness.measure import statistics
from harness.measure.measured import Measured
from harness.measure.statistics import Summary
from harness.scenario import Scenario


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a series.

    :ivar left_out: why it does not count.  Empty if it counts
    :ivar outcome: that of its verdict, ``known deviation`` or ``lost``
    """

    path: str
    outcome: str
    left_out: str
    measured: Measured | None


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Runs with the same settings, one for each round.

    :ivar name: the settings as given on the command line: ``transfer=off``
    """

    name: str
    scenario: Scenario
    build: str
    runs: tuple[Sample, ...]

    @property
    def counted(self) -> int:
        """Runs that count."""
        return sum(not run.left_out for run in self.runs)

    def values(self, metric: "Metric") -> list[float | None]:
        """One for each round.  None if the run does not count, or did not measure it."""
        return [
            metric.get(run.measured) if run.measured and not run.left_out else None
            for run in self.runs
        ]


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """A figure of each run.

    :ivar is_part: whether it is a part of the downtime, which starts where the part before ends
    """

    key: str
    title: str
    get: Callable[[Measured], float | None]
    is_part: bool = False


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """All series, run in turn.

    :ivar machine: the machine that they ran on, as text
    :ivar load: load average of the machine over a minute, at the start and at the end
    """

    series: tuple[Series, ...]
    rounds: int
    machine: str
    load: tuple[float, float]
    path: str
    is_interrupted: bool = False

    @property
    def exit_status(self) -> int:
        """0 measured, 1 a run is violated, 2 too few runs of a series count, 3 a run was lost."""
        if self.is_interrupted:
            return INTERRUPTED
        outcomes = {run.outcome for one in self.series for run in one.runs}
        if "lost" in outcomes:
            return LOST
        if "violated" in outcomes:
            return 1
        return 2 if any(one.counted < statistics.FEWEST for one in self.series) else 0


def metrics(measurement: Measurement) -> list[Metric]:
    """All metrics that some run has measured; each part of the downtime is one."""
    found = [
        Metric(key="downtime_ms", title="downtime, source's STOP to destination's RESUME, ms",
               get=lambda m: m.downtime_ms),
        *(
            Metric(key=f"part: {what}", title=f"part of the downtime {what}, ms", get=_part(what),
                   is_part=True)
            for what in _parts(*measurement.series)
        ),
        Metric(key="qemu_downtime_ms", title="downtime by query-migrate, ms",
               get=lambda m: m.qemu_downtime_ms),
        Metric(key="total_ms", title="total time by query-migrate, ms", get=lambda m: m.total_ms),
        Metric(key="throughput_mib_s", title="throughput of device state, MiB/s",
               get=lambda m: m.throughput_mib_s),
        Metric(key="busiest_channel_percent", title="packets on the busiest channel, % of all",
               get=_busiest),
        Metric(key="destination_memory_mib", title="destination memory, peak, MiB",
               get=lambda m: _mib(m, "destination")),
    ]  # fmt: skip
    return [m for m in found if any(v is not None for s in measurement.series for v in s.values(m))]


def _parts(*found: Series) -> list[str]:
    runs = [run.measured for one in found for run in one.runs if run.measured]
    all_parts = sorted((run.parts_ms for run in runs), key=len, reverse=True)
    return list(dict.fromkeys(what for parts in all_parts for what in parts))


def summary(one: Series, metric: Metric) -> Summary | None:
    """The runs of ``one`` that count.  None if none measured ``metric``."""
    return statistics.summary([value for value in one.values(metric) if value is not None])


def difference(one: Series, base: Series, metric: Metric) -> Summary | None:
    """``one`` minus ``base``, round by round.

    None if there is nothing to compare, for example if the parts before this part differ.
    """
    if metric.is_part and set(_parts(one)) != set(_parts(base)):
        return None
    return statistics.difference(one.values(metric), base.values(metric))


def _part(what: str) -> Callable[[Measured], float | None]:
    return lambda measured: measured.parts_ms.get(what)


def _busiest(measured: Measured) -> float | None:
    counts = measured.channels.values()
    return round(100 * max(counts) / sum(counts), 1) if counts else None


def _mib(measured: Measured, side: str) -> float | None:
    found = measured.memory_kib.get(side)
    return None if found is None else round(found / 1024, 1)
