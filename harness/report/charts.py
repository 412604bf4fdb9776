"""The charts of the HTML report, as shapes that the template draws.

Positions are in per cent of a lane's width, so that a chart fits any window.  Shapes that are too
close to be distinguished are drawn as one, so that the chart of a run of a million records is not
larger than that of a short run.
"""

import bisect
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from harness.history import Side
from harness.measure.timeline import Buffer, DeviceStory, Memory, Span, Timeline

_COLUMNS = 500
"""Shapes within the same column are drawn as one.  Fewer columns if there are many devices or
channels."""
_MOST_BARS = 4000
_MOST_TICKS = 20_000
_MOST_LANES = 32
_MOST_ROWS = 96
_MOST_FAULTS = 5
_LETTER_WIDTH = 1.4
"""Width of a letter of a label, in per cent of a narrow window."""
_GAP = 0.15
_LANE_HEIGHT = 16
_ROW_HEIGHT = 6
_DEPTH_HEIGHT = 48


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle: ``x`` and ``width`` in per cent, ``y`` and ``height`` in pixels."""

    x: float
    width: float
    y: int
    height: int
    style: str
    title: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Path:
    """An SVG path in a field of 1000 by 100."""

    d: str
    style: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One row of a chart, ``height`` pixels high."""

    name: str
    height: int
    bars: tuple[Bar, ...] = ()
    paths: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """Lanes over one time axis.

    :ivar ticks: of the axis: (per cent, text)
    """

    title: str
    lanes: tuple[Lane, ...]
    ticks: tuple[tuple[float, str], ...]
    note: str = ""


class _Scale:
    """Converts a time to per cent of the width."""

    def __init__(
        self, begin_ns: int, end_ns: int, started_ns: int, columns: int = _COLUMNS
    ) -> None:
        self.begin_ns, self.end_ns, self._started_ns = begin_ns, end_ns, started_ns
        self.columns = columns

    def x(self, t_ns: int | None) -> float:
        """None is the end; times outside are at the edge."""
        if t_ns is None:
            return 100.0
        share = (t_ns - self.begin_ns) / max(1, self.end_ns - self.begin_ns)
        return round(min(1.0, max(0.0, share)) * 100, 2)

    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Round times since the start of the run, at most six."""
        begin, end = self.begin_ns - self._started_ns, self.end_ns - self._started_ns
        sizes = (digit * 10**power for power in range(18) for digit in (1, 2, 5))
        step = next(size for size in sizes if (end - begin) / size <= 6)
        decimals = max(0, 6 - int(math.log10(step)))
        times = range(-(-begin // step) * step, end + 1, step)
        found = ((self.x(t_ns + self._started_ns), t_ns) for t_ns in times)
        return tuple((x, f"{t_ns / 1e6:.{decimals}f} ms") for x, t_ns in found if 4 <= x <= 96)


def duration(begin_ns: int, end_ns: int | None) -> str:
    """How long it lasted: ``1.234 ms``."""
    return "to the end" if end_ns is None else f"{(end_ns - begin_ns) / 1e6:.3f} ms"


def charts(times: Timeline, started_ns: int) -> Iterator[Chart]:
    """The charts of one run, the most important first."""
    if times.begin_ns:
        scale = _Scale(times.begin_ns, times.end_ns, started_ns)
        yield Chart("Downtime and states", tuple(_states(times, scale)), scale.ticks())
        if times.channels:
            lanes, note = _channels(times, scale)
            yield Chart("Packets arriving on each channel", lanes, scale.ticks(), note)
        count = max(1, len(times.devices))
        rows = max(8, _MOST_ROWS // count)
        columns = max(50, min(_COLUMNS, _MOST_BARS // (2 * count)))
        scale = _Scale(times.begin_ns, times.end_ns, started_ns, columns)
        for story in times.devices:
            if story.buffers:
                lanes = tuple(_device(story, scale, rows))
                note = _grouping(len(story.buffers), rows)
                yield Chart(f"{story.device}: arrival, wait, load", lanes, scale.ticks(), note)
    if len(points := [m for m in times.memory if m.side is Side.DESTINATION]) > 1:
        inside = [p for p in points if times.begin_ns <= p.t_ns <= times.end_ns]
        begin_ns, end_ns = points[0].t_ns, points[-1].t_ns
        if len(inside) > 1:  # the same axis as the charts above
            begin_ns, end_ns = times.begin_ns, times.end_ns
        scale = _Scale(begin_ns, end_ns, started_ns)
        yield Chart("Memory of the destination", (_memory(points, scale),), scale.ticks())


# -- downtime and states -----------------------------------------------------------------


def _states(times: Timeline, scale: _Scale) -> Iterator[Lane]:
    if times.downtime is not None:
        parts = list(times.downtime.parts)
        if times.downtime.resumed is None:
            last_ns = parts[-1].end_ns if parts else times.downtime.begin_ns
            parts.append(Span("the guest does not run", last_ns or scale.begin_ns, None))
        bars = (
            _bar(part, scale, f"part{number % 2}", part.what) for number, part in enumerate(parts)
        )
        yield Lane("downtime", _LANE_HEIGHT, tuple(bars))
    for side in (Side.SOURCE, Side.DESTINATION):
        spans = times.statuses.get(side, [])
        yield Lane(f"{side}: migration", _LANE_HEIGHT, tuple(_in_sight(spans, scale)))
        for story in times.devices:
            spans = story.states.get(side, [])
            yield Lane(f"{side}: {story.device}", _LANE_HEIGHT, tuple(_in_sight(spans, scale)))


def _in_sight(spans: Iterable[Span], scale: _Scale) -> Iterator[Bar]:
    """The spans on the axis; two shades in turn distinguish neighbours."""
    seen = (
        span
        for span in spans
        if span.begin_ns < scale.end_ns and (span.end_ns is None or span.end_ns > scale.begin_ns)
    )
    for number, span in enumerate(seen):
        yield _bar(span, scale, f"part{number % 2}", span.what)


def _bar(span: Span, scale: _Scale, style: str, label: str) -> Bar:
    x = scale.x(span.begin_ns)
    width = round(scale.x(span.end_ns) - x, 2)
    lasted = duration(span.begin_ns, span.end_ns) if span.begin_ns else "from the start"
    shown = label if width >= _LETTER_WIDTH * len(label) else ""
    return Bar(x, width, 1, _LANE_HEIGHT - 2, style, f"{span.what}: {lasted}", shown)


# -- channels ----------------------------------------------------------------------------


def _channels(times: Timeline, scale: _Scale) -> tuple[tuple[Lane, ...], str]:
    columns = max(50, min(_COLUMNS, _MOST_TICKS // len(times.channels)))
    lanes = []
    for channel, arrivals in list(times.channels.items())[:_MOST_LANES]:
        seen: dict[int, set[int]] = {}
        for t_ns, device in arrivals:
            seen.setdefault(device, set()).add(round(scale.x(t_ns) / 100 * columns))
        paths = (
            Path(
                "".join(f"M{at * 1000 / columns:.0f} 8V92" for at in sorted(places)),
                f"dev{device % 8}",
            )
            for device, places in sorted(seen.items())
        )
        count = f"{len(arrivals)} packet{'s' if len(arrivals) != 1 else ''}"
        name = f"channel {channel}" if channel >= 0 else "channel not known"
        lanes.append(Lane(f"{name}: {count}", _LANE_HEIGHT, paths=tuple(paths)))
    left = len(times.channels) - len(lanes)
    return tuple(lanes), f"{left} more channels are not drawn." if left else ""


# -- one device --------------------------------------------------------------------------


def _grouping(count: int, rows: int) -> str:
    size = -(-count // rows)
    return f"Each row is {size} packets: {count} are too many to draw." if size > 1 else ""


def _device(story: DeviceStory, scale: _Scale, rows: int) -> Iterator[Lane]:
    waits = [
        Span(
            f"waits for packet {wait.idx}, "
            + (
                f"which arrived on channel {wait.channel}"
                if wait.channel >= 0
                else "which never arrived"
            ),
            wait.begin_ns,
            wait.end_ns,
        )
        for wait in story.waits
    ]
    labels = {
        id(span): f"{wait.idx} ch {wait.channel}" if wait.channel >= 0 else f"{wait.idx} never"
        for span, wait in zip(waits, story.waits, strict=True)
    }
    yield Lane("waits for a packet", _LANE_HEIGHT, tuple(_merged(waits, scale, "starved", labels)))
    loads = [
        Span(f"loads packet {b.idx}", b.load_ns, b.loaded_ns)
        for b in story.buffers
        if b.load_ns is not None and not b.is_config
    ]
    config = [Span("loads the configuration", s.begin_ns, s.end_ns) for s in story.config]
    yield Lane(
        "loads",
        _LANE_HEIGHT,
        (*_merged(loads, scale, "load", {}), *_merged(config, scale, "config", {})),
    )
    queue = story.queue()
    if queue:
        highest = max(depth for _, depth in queue)
        name = f"queued packets, at most {highest}"
        yield Lane(name, _DEPTH_HEIGHT, paths=tuple(_steps(queue, scale, max(1, highest))))
    size = -(-len(story.buffers) // rows)
    groups = [story.buffers[at : at + size] for at in range(0, len(story.buffers), size)]
    first, last = story.buffers[0].idx, story.buffers[-1].idx
    name = f"packet {first}" if first == last else f"packets {first} (top) to {last}"
    bars = (bar for number, group in enumerate(groups) for bar in _row(group, number, scale))
    yield Lane(name, max(_LANE_HEIGHT, len(groups) * _ROW_HEIGHT), tuple(bars))


def _row(group: Sequence[Buffer], number: int, scale: _Scale) -> Iterator[Bar]:
    """One packet, or consecutive packets: in the relay, queued, loading, damaged."""
    y, height = number * _ROW_HEIGHT, _ROW_HEIGHT - 1
    which = f"packet {group[0].idx}"
    if len(group) > 1:
        which = f"packets {group[0].idx} to {group[-1].idx}"
    elif group[0].is_config:
        which += " (configuration)"
    sent = [b.sent_ns for b in group if b.sent_ns is not None]
    came = [b.came_ns for b in group if b.came_ns is not None]
    load = [b.load_ns for b in group if b.load_ns is not None]
    loaded = [b.loaded_ns for b in group if b.loaded_ns is not None]

    def bar(what: str, begin_ns: int, end_ns: int | None, style: str) -> Bar:
        x = scale.x(begin_ns)
        title = f"{which} {what}: {duration(begin_ns, end_ns)}"
        return Bar(x, round(scale.x(end_ns) - x, 2), y, height, style, title)

    if sent and came and min(came) > min(sent):
        yield bar("in the relay", min(sent), min(came), "relayed")
    elif sent and not came:
        yield bar("left the source and never arrived", min(sent), None, "relayed")
    if came:
        channels = sorted({b.channel for b in group if b.came_ns is not None})
        where = ", ".join(map(str, channels)) if channels != [-1] else "not known"
        taken = [b.taken_ns for b in group if b.came_ns is not None]
        ends = [t_ns for t_ns in taken if t_ns is not None]
        end_ns = max(min(came), *ends) if len(ends) == len(taken) else None
        yield bar(f"queued, arrived on channel {where}", min(came), end_ns, "queued")
    if load:
        yield bar("loading", min(load), max(loaded, default=None), "load")
    faults = [fault for b in group for fault in b.faults] + [
        "arrived again" for b in group if b.repeats
    ]
    if faults:
        t_ns = min([*sent, *came], default=scale.begin_ns)
        what = "; ".join(list(dict.fromkeys(faults))[:_MOST_FAULTS])
        yield Bar(scale.x(t_ns), 0.6, y, height, "fault", f"{which}: {what}")


def _merged(
    spans: Iterable[Span], scale: _Scale, style: str, labels: dict[int, str]
) -> Iterator[Bar]:
    """A bar for each; those too close to be distinguished are one."""
    least = 100 / scale.columns
    group: list[Span] = []
    right = 0.0
    for span in spans:
        x, end = scale.x(span.begin_ns), scale.x(span.end_ns)
        if group and (x - right < least and end - scale.x(group[0].begin_ns) < 2 * least):
            group.append(span)
        else:
            if group:
                yield _group_bar(group, scale, style, labels)
            group = [span]
        right = end
    if group:
        yield _group_bar(group, scale, style, labels)


def _group_bar(group: list[Span], scale: _Scale, style: str, labels: dict[int, str]) -> Bar:
    x = scale.x(group[0].begin_ns)
    width = round(scale.x(group[-1].end_ns) - x, 2)
    lasted = duration(group[0].begin_ns, group[-1].end_ns)
    title, label = f"{group[0].what}: {lasted}", labels.get(id(group[0]), "")
    if len(group) > 1:
        title, label = f"{len(group)} times within {lasted}, first: {group[0].what}", ""
    if width < _LETTER_WIDTH * len(label):
        label = ""
    if width > 1:
        width = round(width - _GAP, 2)  # a gap to the next
    return Bar(x, width, 1, _LANE_HEIGHT - 2, style, title, label)


def _steps(queue: Sequence[tuple[int, int]], scale: _Scale, highest: int) -> Iterator[Path]:
    """A filled staircase; each column shows its maximum."""
    times = [t_ns for t_ns, _ in queue]
    width_ns = (scale.end_ns - scale.begin_ns) / scale.columns
    d = ["M0 100"]
    last = None
    for column in range(scale.columns):
        left = bisect.bisect_right(times, scale.begin_ns + column * width_ns)
        right = bisect.bisect_right(times, scale.begin_ns + (column + 1) * width_ns)
        depths = [depth for _, depth in queue[max(0, left - 1) : right]] if right else [0]
        level = 100 - round(max(depths) * 96 / highest)
        if level != last:
            d.append(f"H{column * 1000 // scale.columns}V{level}")
            last = level
    d.append("H1000V100Z")
    yield Path("".join(d), "depth")


# -- memory ------------------------------------------------------------------------------


def _memory(points: Sequence[Memory], scale: _Scale) -> Lane:
    """The resident set from sample to sample, and its peak as a line above."""
    highest = max(max(p.highest_kib, p.resident_kib) for p in points)
    first, last = points[0].resident_kib / 1024, points[-1].resident_kib / 1024
    places = [
        f"{scale.x(p.t_ns) * 10:.0f} {100 - p.resident_kib * 96 / highest:.0f}" for p in points
    ]
    name = (
        f"resident set in {len(points)} samples: {first:.1f} MiB, then {last:.1f} MiB; "
        f"at most {highest / 1024:.1f} MiB"
    )
    paths = (
        Path(f"M0 100L{'L'.join(places)}L1000 100Z", "depth"),
        Path("M0 4H1000", "highest"),
    )
    return Lane(name, _DEPTH_HEIGHT, paths=paths)
