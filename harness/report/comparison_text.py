"""A comparison (``report.comparison``) as plain text and as JSON."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from harness.measure.measured import Measured
from harness.measure.statistics import median
from harness.report.comparison import Change, Comparison, Pair, State
from harness.report.table import EMPTY, figure, table

_KIB = 1024


def lines(comparison: Comparison) -> Iterator[str]:
    """The complete comparison, without control sequences."""
    for word, builds in (
        ("before", comparison.builds_before),
        ("after", comparison.builds_after),
    ):
        for build in builds:
            yield f"{word + ':':<8}{build}"
    yield ""
    worse = [change for change in comparison.changes if change.exit_status]
    better = [change for change in comparison.changes if change.is_better]
    others = [c for c in comparison.changes if not c.exit_status and not c.is_better]
    for title, changes in (("Worse", worse), ("Better", better), ("Changed", others)):
        if changes:
            yield f"{title}:"
            yield from _changed(changes)
            yield ""
    for where, names in (
        ("before only", comparison.only_before),
        ("after only", comparison.only_after),
    ):
        if names:
            yield f"Scenarios run {where}: {', '.join(names)}."
    for pair in comparison.pairs:
        if pair.settings:
            yield f"{pair.scenario} is not the same scenario: {'; '.join(pair.settings)}."
    for error in comparison.lost:
        yield f"LOST: {error}"
    yield from _numbers(comparison.pairs)
    yield ""
    yield _end(comparison)


def document(comparison: Comparison) -> dict[str, Any]:
    """For JSON: the fields, and the exit status."""
    found: dict[str, Any] = msgspec.to_builtins(comparison)
    for change, fields in zip(comparison.changes, found["changes"], strict=True):
        fields["is_worse"] = change.exit_status != 0
    return {"exit_status": comparison.exit_status, **found}


# -- verdicts ----------------------------------------------------------------------------


def _changed(changes: Iterable[Change]) -> Iterator[str]:
    """Equal changes together: the sentence of the first, and the scenarios of all."""
    alike: dict[tuple[str, str, str], list[Change]] = {}
    for change in changes:
        alike.setdefault((change.requirement, change.before, change.after), []).append(change)
    for (requirement, before, after), found in alike.items():
        where = ", ".join(change.scenario for change in found)
        yield f"  {requirement:<7}{before} -> {_loud(after)}  in {where}"
        if found[0].sentence:
            of = f"{found[0].scenario}: " if len(found) > 1 else ""
            yield f"         {of}{found[0].sentence}"


def _loud(state: str) -> str:
    return state.upper() if state.startswith("violated") else state


def _end(comparison: Comparison) -> str:
    same = f"{comparison.unchanged} verdicts on requirements are unchanged"
    count = len(comparison.pairs)
    of = f"in {count} scenario{'s' if count != 1 else ''}"
    status = comparison.exit_status
    if status == 0:
        return f"Nothing got worse; {same}, {of}."
    worse = [change for change in comparison.changes if change.exit_status]
    groups = {
        "Violated now, not before": [c for c in worse if c.after is State.VIOLATED],
        "Violated in another way than before": [c for c in worse if c.after is State.OTHERWISE],
        "Valid before, not judged now": [c for c in worse if c.exit_status == 2],
    }
    found = [
        f"{words}: {', '.join(dict.fromkeys(change.requirement for change in changes))}"
        for words, changes in groups.items()
        if changes
    ]
    if not comparison.pairs:
        found.append("nothing to compare: no scenario is on both sides")
    if comparison.lost:
        found.append("runs were lost, their results are unknown")
    return f"{'; '.join(found)}; {same}, {of}."


# -- numbers -----------------------------------------------------------------------------


def _numbers(pairs: Sequence[Pair]) -> Iterator[str]:
    """All figures of a single pair; of several pairs one row each."""
    if not pairs:
        return
    many = max(len(side) for pair in pairs for side in (pair.before, pair.after)) > 1
    yield (
        "Measured, medians of the runs of each scenario (not judged):"
        if many
        else "Measured, one run each (not judged; use vfio-multifd measure for statistics):"
    )
    if len(pairs) == 1:
        yield from _full(pairs[0])
        return
    columns = ("downtime ms", "throughput MiB/s", "destination MiB", "channels: packets")
    rows = [
        (pair.scenario, *(_then(get, pair) for get in (_downtime, _throughput, _peak, _spread)))
        for pair in pairs
    ]
    rows = [row for row in rows if any(cell != EMPTY for cell in row[1:])]
    yield from table(("scenario", *columns), rows)


def _full(pair: Pair) -> Iterator[str]:
    # A run that has all parts gives their order; others may lack some.
    all_parts = sorted((m.parts_ms for m in (*pair.before, *pair.after)), key=len, reverse=True)
    whats = dict.fromkeys(what for parts in all_parts for what in parts)
    rows = [("downtime, STOP to RESUME, ms", *_both(_downtime, pair))]
    rows += [(f"  {what}", _part(pair.before, what), _part(pair.after, what)) for what in whats]
    rows += [
        ("downtime by query-migrate, ms", *_both(_qemu_downtime, pair)),
        ("throughput of device state, MiB/s", *_both(_throughput, pair)),
        ("destination memory, peak, MiB", *_both(_peak, pair)),
        ("source memory, peak, MiB", *_both(_source_peak, pair)),
        ("packets on each channel", *_both(_each_channel, pair)),
    ]
    yield from table(("", "before", "after"), rows)


def _both(get: Callable[[Sequence[Measured]], str], pair: Pair) -> tuple[str, str]:
    return get(pair.before), get(pair.after)


def _then(get: Callable[[Sequence[Measured]], str], pair: Pair) -> str:
    before, after = _both(get, pair)
    return EMPTY if before == after == EMPTY else f"{before} -> {after}"


def _downtime(side: Sequence[Measured]) -> str:
    return figure(median(m.downtime_ms for m in side))


def _part(side: Sequence[Measured], what: str) -> str:
    return figure(median(m.parts_ms.get(what) for m in side))


def _qemu_downtime(side: Sequence[Measured]) -> str:
    return figure(median(m.qemu_downtime_ms for m in side))


def _throughput(side: Sequence[Measured]) -> str:
    return figure(median(m.throughput_mib_s for m in side))


def _peak(side: Sequence[Measured]) -> str:
    peaks = [m.memory_kib.get("destination") for m in side]
    return figure(median(peak / _KIB for peak in peaks if peak is not None))


def _source_peak(side: Sequence[Measured]) -> str:
    peaks = [m.memory_kib.get("source") for m in side]
    return figure(median(peak / _KIB for peak in peaks if peak is not None))


def _spread(side: Sequence[Measured]) -> str:
    """``4: 1-2``: 4 channels carried packets, each 1 to 2; the sum of all runs."""
    counts = _counts(side)
    if not counts:
        return EMPTY
    low, high = min(counts.values()), max(counts.values())
    return f"{len(counts)}: {low}" + (f"-{high}" if high != low else "")


def _each_channel(side: Sequence[Measured]) -> str:
    counts = _counts(side)
    if not counts:
        return EMPTY
    channels = sorted(counts, key=int)
    if len(channels) > 16:
        return _spread(side)
    return " ".join(str(counts[channel]) for channel in channels)


def _counts(side: Sequence[Measured]) -> dict[str, int]:
    found: dict[str, int] = {}
    for measured in side:
        for channel, count in measured.channels.items():
            found[channel] = found.get(channel, 0) + count
    return found
