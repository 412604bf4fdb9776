"""A measurement of ``vfio-multifd measure`` as text and as JSON."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

import harness
from harness.measure import statistics
from harness.measure.measurement import (
    Measurement,
    Metric,
    Sample,
    difference,
    metrics,
    summary,
)
from harness.measure.statistics import Summary
from harness.report.table import EMPTY, table
from harness.scenario import Scenario

_MIB: Final = 1 << 20

WHAT_IT_IS: Final = (
    "The devices are emulated: QEMU reads and writes their state in memory, and both QEMUs share "
    "the processors of this machine. The figures compare QEMU with itself on this machine; they "
    "do not predict those of a real device or network.",
    "Where no difference is shown, the series may still differ by less than the width of the "
    "interval. Each interval is 95 % on its own: of 20 intervals one may miss by chance.",
)


# -- as text -----------------------------------------------------------------------------


def lines(measurement: Measurement) -> Iterator[str]:
    """The complete measurement; 80 columns unless names are long."""
    if measurement.is_interrupted:
        yield f"INTERRUPTED after {measurement.rounds} rounds."
    first, last = measurement.load
    yield f"{measurement.rounds} rounds after an uncounted one; each runs all series in turn."
    yield f"Machine: {measurement.machine}; load average {first:.1f}, then {last:.1f}."
    yield from WHAT_IT_IS
    yield ""
    for one in measurement.series:
        yield f"{one.name}: {_shape(one.scenario)}; {one.build}"
    yield ""
    yield from _left_out(measurement)
    found = metrics(measurement)
    yield from (line for metric in found for line in _of_metric(measurement, metric))
    if not found:
        yield "No run counts: nothing was measured."
    yield f"Runs, measure.json and measure.svg: {measurement.path}/"
    yield _end(measurement)


def _shape(scenario: Scenario) -> str:
    devices = scenario.devices
    sizes = sorted({d.total_size for d in devices if d.total_size is not None})
    size = " or ".join(f"{size / _MIB:g} MiB" for size in sizes)
    of = f"{len(devices)} device{'s' if len(devices) != 1 else ''}{f' of {size}' if size else ''}"
    transfer = sorted({str(device.multifd_transfer or "default") for device in devices})
    channels = f"{scenario.channels} channels" if scenario.multifd else "no multifd"
    trace = "traced" if scenario.trace else "not traced, so without the parts of the downtime"
    return f"{of}, transfer {'/'.join(transfer)}, {channels}, {scenario.machine}, {trace}"


def _left_out(measurement: Measurement) -> Iterator[str]:
    """How many runs count; for the others the reasons and the directories."""
    for one in measurement.series:
        yield f"{one.name}: {one.counted} of {len(one.runs)} runs count."
        reasons: dict[str, list[str]] = {}
        for run in one.runs:
            if run.left_out:
                reasons.setdefault(run.left_out, []).append(run.path)
        for reason, paths in reasons.items():
            yield f"    {len(paths)} left out: {reason}; the first is {paths[0]}/"
    yield ""


def _of_metric(measurement: Measurement, metric: Metric) -> Iterator[str]:
    """A row for each series, then the differences from the first series."""
    yield f"{metric.title}:"
    head = ("", "n", "median", "quartiles", "95 % interval of the median")
    yield from table(
        head, [(one.name, *_cells(summary(one, metric))) for one in measurement.series]
    )
    base = measurement.series[0]
    for one in measurement.series[1:]:
        found = difference(one, base, metric)
        if found is not None and found.interval is not None:
            word = "no difference is shown"
            if statistics.is_shown(found):
                word = "higher" if found.median > 0 else "lower"
            span = f"{found.interval.low:+.2f} to {found.interval.high:+.2f}"
            yield (
                f"  {one.name} minus {base.name}, in {found.n} rounds: median "
                f"{found.median:+.2f} ({span}): {word}"
            )
    yield ""


def _cells(found: Summary | None) -> tuple[str, ...]:
    if found is None:
        return "0", EMPTY, EMPTY, EMPTY
    quartiles = f"{found.lower_quartile:.2f} to {found.upper_quartile:.2f}"
    within = "too few runs"
    if found.interval is not None:
        within = f"{found.interval.low:.2f} to {found.interval.high:.2f}"
    return str(found.n), f"{found.median:.2f}", quartiles, within


def _end(measurement: Measurement) -> str:
    match measurement.exit_status:
        case 0:
            return "Measured."
        case 1:
            return "Measured, but some runs are VIOLATED: see above."
        case 2:
            return f"Too few runs of a series count: {statistics.FEWEST} are needed."
        case 3:
            return "Some runs were LOST: see above."
    return "INTERRUPTED: the figures are those of the rounds before."


# -- for programs ------------------------------------------------------------------------


def document(measurement: Measurement) -> bytes:
    """measure.json, with each value of each run, and a newline at its end."""
    found = metrics(measurement)
    base = measurement.series[0]
    fields: dict[str, Any] = {
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
                    metric.key: {"values": one.values(metric), "summary": summary(one, metric)}
                    for metric in found
                },
            }
            for one in measurement.series
        ],
        "differences": [
            {"series": one.name, "against": base.name, "metric": metric.key, "summary": delta,
             "is_shown": statistics.is_shown(delta)}
            for one in measurement.series[1:]
            for metric in found
            if (delta := difference(one, base, metric)) is not None
        ],
    }  # fmt: skip
    return msgspec.json.format(msgspec.json.encode(fields), indent=2) + b"\n"


def round_text(ends: Mapping[str, Sample]) -> str:
    """One round in a line."""
    found = []
    for name, run in ends.items():
        downtime_ms = run.measured.downtime_ms if run.measured and not run.left_out else None
        found.append(f"{name} {'left out' if downtime_ms is None else f'{downtime_ms:.1f} ms'}")
    return ", ".join(found)
