"""What ``vfio-multifd measure`` found: series of runs side by side, as text and for programs."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

import harness
from harness.errors import LOST
from harness.measure import series as stats
from harness.measure.measured import Measured
from harness.measure.series import Summary
from harness.report.summary import INTERRUPTED
from harness.scenario import EmulatedDevice, Scenario

_MIB: Final = 1 << 20

WHAT_IT_IS: Final = (
    "The devices live in the harness: QEMU reads and writes their state in memory, and both "
    "QEMUs share this machine's processors. The numbers are about what QEMU itself does, on "
    "this machine, one series against another; they are not those of a real device or network.",
    "A series with no difference shown may still differ by less than its interval is wide. "
    "Each interval stands for itself: of 20 of them one may miss by chance.",
)


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a series.

    :ivar left_out: why it does not count; empty: it does
    :ivar outcome: of its verdict; ``lost``: it could not be made
    """

    path: str
    outcome: str
    left_out: str
    measured: Measured | None


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Runs with the same settings, one for each round.

    :ivar name: its settings as they were given: ``transfer=off``
    """

    name: str
    scenario: Scenario
    build: str
    runs: tuple[Run, ...]

    @property
    def counted(self) -> int:
        """Runs that count."""
        return sum(not run.left_out for run in self.runs)

    def values(self, metric: "Metric") -> list[float | None]:
        """One for each round; None: its run does not count, or did not measure it."""
        return [
            metric.get(run.measured) if run.measured and not run.left_out else None
            for run in self.runs
        ]


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """Something that each run measures.

    :ivar is_part: of the downtime: it begins where the part before it ends
    """

    key: str
    title: str
    get: Callable[[Measured], float | None]
    is_part: bool = False


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """All series, run in turn.

    :ivar machine: what they ran on, in words
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
        """0 measured, 1 a run was violated, 2 fewer runs count than a series needs, 3 lost."""
        if self.is_interrupted:
            return INTERRUPTED
        outcomes = {run.outcome for one in self.series for run in one.runs}
        if "lost" in outcomes:
            return LOST
        if "violated" in outcomes:
            return 1
        return 2 if any(one.counted < stats.FEWEST for one in self.series) else 0


def metrics(measurement: Measurement) -> list[Metric]:
    """All that any run has measured; the parts of the downtime under their own words."""
    found = [
        Metric(key="downtime_ms", title="downtime, source's STOP to destination's RESUME, ms",
               get=lambda m: m.downtime_ms),
        *(
            Metric(key=f"part: {what}", title=f"of it {what}, ms", get=_part(what),
                   is_part=True)
            for what in _parts(*measurement.series)
        ),
        Metric(key="qemu_downtime_ms", title="downtime as QEMU's query-migrate tells it, ms",
               get=lambda m: m.qemu_downtime_ms),
        Metric(key="total_ms", title="total time of query-migrate, ms", get=lambda m: m.total_ms),
        Metric(key="throughput_mib_s", title="throughput of device state, MiB/s",
               get=lambda m: m.throughput_mib_s),
        Metric(key="busiest_channel_percent", title="packets on the busiest channel, % of all",
               get=_busiest),
        Metric(key="destination_memory_mib", title="destination's memory, highest, MiB",
               get=lambda m: _mib(m, "destination")),
    ]  # fmt: skip
    return [m for m in found if any(v is not None for s in measurement.series for v in s.values(m))]


def _parts(*found: Series) -> list[str]:
    runs = [run.measured for one in found for run in one.runs if run.measured]
    all_parts = sorted((run.parts_ms for run in runs), key=len, reverse=True)
    return list(dict.fromkeys(what for parts in all_parts for what in parts))


def _difference(one: Series, base: Series, metric: Metric) -> Summary | None:
    """None: there is nothing to compare, as where a part has not the same parts before it."""
    if metric.is_part and set(_parts(one)) != set(_parts(base)):
        return None
    return stats.difference(one.values(metric), base.values(metric))


def _part(what: str) -> Callable[[Measured], float | None]:
    return lambda measured: measured.parts_ms.get(what)


def _busiest(measured: Measured) -> float | None:
    counts = measured.channels.values()
    return round(100 * max(counts) / sum(counts), 1) if counts else None


def _mib(measured: Measured, side: str) -> float | None:
    found = measured.memory_kib.get(side)
    return None if found is None else round(found / 1024, 1)


# -- as text -----------------------------------------------------------------------------


def lines(measurement: Measurement) -> Iterator[str]:
    """All of it, for 80 columns where names allow."""
    if measurement.is_interrupted:
        yield f"INTERRUPTED after {measurement.rounds} rounds."
    first, last = measurement.load
    yield (
        f"{measurement.rounds} rounds, in each every series once and in turn, after one that "
        "does not count."
    )
    yield f"Machine: {measurement.machine}; load average {first:.1f}, then {last:.1f}."
    yield from WHAT_IT_IS
    yield ""
    for one in measurement.series:
        yield f"{one.name}: {_shape(one.scenario)}; {one.build}"
    yield ""
    yield from _left_out(measurement)
    width = max(len(one.name) for one in measurement.series)
    found = metrics(measurement)
    yield from (line for metric in found for line in _told(measurement, metric, width))
    if not found:
        yield "No run counts: nothing was measured."
    yield f"Runs, measure.json and measure.svg: {measurement.path}/"
    yield _end(measurement)


def _shape(scenario: Scenario) -> str:
    devices = scenario.devices
    sizes = sorted({d.total_size for d in devices if isinstance(d, EmulatedDevice)})
    size = " or ".join(f"{size / _MIB:g} MiB" for size in sizes)
    of = f"{len(devices)} device{'s' if len(devices) != 1 else ''}{f' of {size}' if size else ''}"
    transfer = sorted({str(device.multifd_transfer or "default") for device in devices})
    channels = f"{scenario.channels} channels" if scenario.multifd else "no multifd"
    trace = "traced" if scenario.trace else "not traced, so without parts"
    return f"{of}, transfer {'/'.join(transfer)}, {channels}, {scenario.machine}, {trace}"


def _left_out(measurement: Measurement) -> Iterator[str]:
    """How many runs count, and of the others why not and where they are."""
    for one in measurement.series:
        yield f"{one.name}: {one.counted} of {len(one.runs)} runs count."
        reasons: dict[str, list[str]] = {}
        for run in one.runs:
            if run.left_out:
                reasons.setdefault(run.left_out, []).append(run.path)
        for reason, paths in reasons.items():
            yield f"    {len(paths)} left out: {reason}; the first is {paths[0]}/"
    yield ""


def _told(measurement: Measurement, metric: Metric, width: int) -> Iterator[str]:
    yield metric.title
    yield f"  {'':<{width}}    n   median   quartiles           95 % interval of the median"
    for one in measurement.series:
        yield f"  {one.name:<{width}} {_row(_summary(one, metric))}"
    base = measurement.series[0]
    for one in measurement.series[1:]:
        found = _difference(one, base, metric)
        if found is not None and found.interval is not None:
            word = "no difference is shown"
            if stats.is_shown(found):
                word = "higher" if found.median > 0 else "lower"
            span = f"{found.interval.low:+.2f} to {found.interval.high:+.2f}"
            yield (
                f"  {one.name} minus {base.name}, in {found.n} rounds: median "
                f"{found.median:+.2f} ({span}): {word}"
            )
    yield ""


def _summary(one: Series, metric: Metric) -> Summary | None:
    return stats.summary([value for value in one.values(metric) if value is not None])


def _row(found: Summary | None) -> str:
    if found is None:
        return f"{0:>4}        -"
    quartiles = f"{found.lower_quartile:.2f} to {found.upper_quartile:.2f}"
    within = "too few runs"
    if found.interval is not None:
        within = f"{found.interval.low:.2f} to {found.interval.high:.2f}"
    return f"{found.n:>4} {found.median:>8.2f}   {quartiles:<18}  {within}"


def _end(measurement: Measurement) -> str:
    match measurement.exit_status:
        case 0:
            return "Measured."
        case 1:
            return "Measured, but runs were VIOLATED: see above."
        case 2:
            return f"Too few runs count in a series for the statistics: {stats.FEWEST} are needed."
        case 3:
            return "Runs were LOST: see above."
    return "INTERRUPTED: what was measured until then is told."


# -- for programs ------------------------------------------------------------------------


def document(measurement: Measurement) -> bytes:
    """measure.json, with each value of each run, a newline at its end."""
    found = metrics(measurement)
    base = measurement.series[0]
    told: dict[str, Any] = {
        "harness": harness.__version__,
        "exit_status": measurement.exit_status,
        "is_interrupted": measurement.is_interrupted,
        "rounds": measurement.rounds,
        "machine": measurement.machine,
        "load": measurement.load,
        "path": measurement.path,
        "note": WHAT_IT_IS,
        "series": [
            {
                "name": one.name,
                "build": one.build,
                "scenario": one.scenario,
                "counted": one.counted,
                "runs": one.runs,
                "metrics": {
                    metric.key: {"values": one.values(metric), "summary": _summary(one, metric)}
                    for metric in found
                },
            }
            for one in measurement.series
        ],
        "differences": [
            {"series": one.name, "against": base.name, "metric": metric.key, "summary": summary,
             "is_shown": stats.is_shown(summary)}
            for one in measurement.series[1:]
            for metric in found
            if (summary := _difference(one, base, metric)) is not None
        ],
    }  # fmt: skip
    return msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n"


def round_words(ends: Mapping[str, Run]) -> str:
    """One round in a line."""
    told = []
    for name, run in ends.items():
        measured = run.measured.downtime_ms if run.measured and not run.left_out else None
        told.append(f"{name} {'left out' if measured is None else f'{measured:.1f} ms'}")
    return ", ".join(told)
