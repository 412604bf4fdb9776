"""The report as TAP version 13, the Test Anything Protocol (testanything.org).

``meson test`` and ``prove`` read it.

===========================================  ====================
test point                                   TAP
===========================================  ====================
valid                                        ``ok``
violated, unknown, lost                      ``not ok``
known deviation                              ``not ok``, ``# TODO``
not applicable, not judged, left out         ``ok``, ``# SKIP``
===========================================  ====================

A consumer passes the report if and only if the exit status is 0.  The diagnostics of a point are
YAML of one level: strings, and lists of strings.
"""

import json
from collections.abc import Iterator

from harness.report.ci_points import Kind, Point, points
from harness.report.summary import Report

_SKIPPED = (Kind.NOT_APPLICABLE, Kind.NOT_JUDGED, Kind.LEFT_OUT)


def render(report: Report) -> str:
    """The document.  The plan comes first, so that a truncated document fails."""
    found = list(points(report))
    lines = ["TAP version 13", f"1..{len(found)}"]
    for number, point in enumerate(found, 1):
        lines += _point(number, point)
    return "".join(f"{line}\n" for line in lines)


def _point(number: int, point: Point) -> Iterator[str]:
    ok = "ok" if point.kind in (Kind.VALID, *_SKIPPED) else "not ok"
    where = f" in {point.run}" if point.run else ""
    yield f"{ok} {number} - {_plain(f'{point.requirement}{where}: {point.title}')}" + (
        _directive(point)
    )
    if point.kind in _SKIPPED:
        return
    yield "  ---"
    yield f"  verdict: {_quoted(point.kind)}"
    yield f"  requirement: {_quoted(point.requirement)}"
    yield f"  message: {_quoted(point.sentence)}"
    for name, text in point.details.items():
        key = name.replace(" ", "_")  # as perl's reader of YAML wants it
        if isinstance(text, str):
            yield f"  {key}: {_quoted(text)}"
        else:
            yield f"  {key}:"
            yield from (f"    - {_quoted(line)}" for line in text)
    yield "  ..."


def _directive(point: Point) -> str:
    if point.kind is Kind.KNOWN:
        return f" # TODO known deviation: {_plain(point.sentence)}"
    if point.kind in _SKIPPED:
        what = f"{point.kind}: " if point.kind is Kind.NOT_JUDGED else ""
        return f" # SKIP {_plain(what + point.sentence)}"
    return ""


def _plain(text: str) -> str:
    """One line, in which nothing starts a directive."""
    return " ".join(text.split()).replace("#", "\\#")


def _quoted(text: str) -> str:
    """A double-quoted YAML string: JSON strings are a subset."""
    return json.dumps(text, ensure_ascii=False)
