"""A measurement as one SVG: each run is a dot, the quartiles a box, the interval a bar.

It needs no other file and follows the light or dark scheme of the viewer.  Runs that do not count
are not drawn; their number is next to the name of the series.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jinja2

from harness.measure import statistics
from harness.measure.measurement import Measurement, Metric, metrics

_TEMPLATE: Final = Path(__file__).with_suffix(".svg.j2")
_DRAWN: Final = ("downtime_ms", "throughput_mib_s")
WIDTH: Final = 760
_LEFT, _RIGHT = 200, 20
_LANE, _HEAD, _AXIS = 44, 34, 34
_DOT_ROWS: Final = 5
_LONGEST_NAME: Final = 30


@dataclass(frozen=True, slots=True)
class Lane:
    """One series; x in pixels, y at its middle.

    :ivar box: from quartile to quartile; ``within``: the interval.  None if there are too few runs
    """

    name: str
    caption: str
    y: float
    dots: tuple[tuple[float, float, str], ...]
    median: float | None
    box: tuple[float, float] | None
    within: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Panel:
    """One metric; ``ticks``: (x, text)."""

    title: str
    top: int
    bottom: int
    lanes: tuple[Lane, ...]
    ticks: tuple[tuple[float, str], ...]


def render(measurement: Measurement) -> str:
    """The SVG; without a panel if nothing was measured."""
    panels = list(_panels(measurement))
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    height = panels[-1].bottom + _AXIS if panels else 40
    return environment.from_string(_TEMPLATE.read_text()).render(
        panels=panels,
        width=WIDTH,
        height=height,
        left=_LEFT,
        right=WIDTH - _RIGHT,
        title=" | ".join(one.name for one in measurement.series),
        machine=measurement.machine,
    )


def _panels(measurement: Measurement) -> Iterator[Panel]:
    top = 0
    for metric in metrics(measurement):
        if metric.key in _DRAWN:
            panel = _panel(measurement, metric, top)
            top = panel.bottom + _AXIS
            yield panel


def _panel(measurement: Measurement, metric: Metric, top: int) -> Panel:
    found = [[v for v in one.values(metric) if v is not None] for one in measurement.series]
    low, high, step = _range([value for values in found for value in values])

    def x(value: float) -> float:
        return round(_LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT), 1)

    lanes = []
    for number, (one, values) in enumerate(zip(measurement.series, found, strict=True)):
        y = top + _HEAD + _LANE * number + _LANE / 2
        summary = statistics.summary(values)
        dots = tuple(
            (x(value), y + 2 * (position % _DOT_ROWS - _DOT_ROWS // 2), f"{value:g}")
            for position, value in enumerate(values)
        )
        median = box = within = None
        if summary is not None:
            median, box = x(summary.median), (x(summary.lower_quartile), x(summary.upper_quartile))
            if summary.interval is not None:
                within = x(summary.interval.low), x(summary.interval.high)
        caption = f"median {summary.median:.2f}, n {summary.n}" if summary else "no run counts"
        if left := len(one.runs) - one.counted:
            caption += f", {left} left out"
        lanes.append(Lane(_short(one.name), caption, y, dots, median, box, within))
    ticks = []
    mark = math.ceil(low / step) * step
    while mark <= high + step / 1000:
        ticks.append((x(mark), f"{mark:g}"))
        mark = round(mark + step, 9)
    bottom = top + _HEAD + _LANE * len(lanes)
    return Panel(metric.title, top, bottom, tuple(lanes), tuple(ticks))


def _range(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower and upper end, with a margin, and the distance of at most eight round ticks."""
    low, high = min(values), max(values)
    margin = (high - low) * 0.04 or abs(high) * 0.05 or 1.0
    low, high = low - margin, high + margin
    rough = (high - low) / 8
    power = 10 ** math.floor(math.log10(rough))
    step = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough)
    return low, high, step


def _short(name: str) -> str:
    """The end of a long name: it is usually a path."""
    return name if len(name) <= _LONGEST_NAME else f"...{name[-_LONGEST_NAME:]}"
