"""A benchmark (``measure.benchmark``) as text, and the comparison of two."""

from collections.abc import Iterator, Sequence

import msgspec

from harness.measure.benchmark import Benchmark, Difference, Row
from harness.report.table import table


def machine(found: Benchmark) -> str:
    """Where and when it was measured, in one line."""
    first, last = found.load
    return (
        f"{found.date[:10]}, {found.qemu}, {found.machine}; load average {first:.1f}, then "
        f"{last:.1f}"
    )


def progress(row: Row) -> str:
    """One row when it was measured."""
    if row.failed:
        return f"{'failed':>10}  {row.name}\n{'':12}{row.failed}"
    return f"{figure(row):>10}  {row.name} (goal {goal(row)})\n{'':12}{detail(row)}"


def lines(found: Benchmark) -> Iterator[str]:
    """The table of the README, in Markdown, and the machine below it."""
    yield "| what | measured | spread | goal |"
    yield "|---|---|---|---|"
    for row in found.rows:
        if row.failed:
            yield f"| {row.name} | could not be measured: {row.failed} | | {goal(row)} |"
        else:
            yield f"| {row.name} | {figure(row)} ({detail(row)}) | {spread(row)} | {goal(row)} |"
    yield ""
    yield f"{machine(found)}."


def figure(row: Row) -> str:
    """The median, and its unit if it is no ratio."""
    summary = row.summary
    if summary is None:
        return "-"
    return number(summary.median) if row.base else f"{number(summary.median)} {row.unit}"


def spread(row: Row) -> str:
    """The quartiles of the figure."""
    summary = row.summary
    if summary is None or summary.n == 1:
        return "-"
    return f"{number(summary.lower_quartile)} to {number(summary.upper_quartile)}"


def detail(row: Row) -> str:
    """The absolute medians, how many rounds, and which were repeated."""
    count = f"{len(row.values)} round{'s' if len(row.values) != 1 else ''}"
    parts = [f"{' / '.join(map(number, row.medians))} {row.unit}"] if row.base else []
    parts.append(count)
    parts += [f"{times} more met {name}" for name, times in sorted(row.repeated.items())]
    return ", ".join(parts)


def goal(row: Row) -> str:
    """As in ``at most 3``."""
    word = "at least" if row.goal.is_least else "at most"
    unit = "" if row.base else f" {row.unit}"
    return f"{word} {number(row.goal.limit)}{unit}"


def number(value: float) -> str:
    """With three digits, or all of a large integer."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def compared(before: Benchmark, after: Benchmark, found: Sequence[Difference]) -> Iterator[str]:
    """What differs, row by row, and the rows that only one has."""
    yield f"before: {machine(before)}"
    yield f"after:  {machine(after)}"
    yield ""
    head = ("", "before", "after", "ratio", "95 % interval", "")
    rows = [
        (
            each.name,
            number(each.before),
            number(each.after),
            f"{each.ratio:.2f}",
            f"{each.interval.low:.2f} to {each.interval.high:.2f}" if each.interval else "-",
            each.word,
        )
        for each in found
    ]
    yield from table(head, rows)
    names = {each.name for each in found}
    for word, one in (("before", before), ("after", after)):
        if left := [row.name for row in one.rows if row.name not in names]:
            yield f"Measured {word} only: {'; '.join(left)}."


def document(before: Benchmark, after: Benchmark, found: Sequence[Difference]) -> bytes:
    """The same as JSON, with a newline at its end."""
    fields = {
        "before": before,
        "after": after,
        "differences": [{**msgspec.structs.asdict(each), "word": each.word} for each in found],
    }
    return msgspec.json.format(msgspec.json.encode(fields), indent=2) + b"\n"
