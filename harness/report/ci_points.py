"""The **test points** of a report for CI: one for each requirement in each run.

TAP and JUnit render them.  The exit status is 0 if and only if no test point failed.
"""

import enum
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from harness.check.verdict import Finding, Outcome
from harness.report.format import build_text, moment, record_text
from harness.report.summary import Entry, Report, Row, show_again

_HARNESS: Final = "harness"
"""Stands for the requirement of a test point that says nothing about QEMU."""


class Kind(enum.StrEnum):
    """The result of a test point."""

    VALID = "valid"
    VIOLATED = "violated"
    UNKNOWN = "unknown"
    LOST = "lost"
    KNOWN = "known deviation"
    NOT_JUDGED = "not judged"
    NOT_APPLICABLE = "not applicable"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One test point.

    :ivar requirement: its id.  ``harness`` if the point is not about QEMU
    :ivar run: name of the run, unique in the report.  Empty if it is about no single run
    :ivar sentence: what was seen, the error of a lost run, or why it is not applicable
    :ivar details: further facts by name, one line or several each
    :ivar seconds: how long the run took, on the first point of each run; else 0
    """

    kind: Kind
    requirement: str
    title: str
    run: str = ""
    sentence: str = ""
    details: dict[str, str | list[str]]
    seconds: float = 0.0


def points(report: Report) -> Iterator[Point]:
    """All test points: the requirements in their order, then the runs that were not judged."""
    entries = dict(enumerate(report.entries, 1))
    names = _names(report)
    timed: set[int] = set()
    rows = list(report.rows())
    for row in rows:
        for number, finding in row.findings.items():
            entry = entries[number]
            yield Point(
                kind=Kind(finding.outcome),
                requirement=row.requirement,
                title=row.title,
                run=names[number],
                sentence=finding.sentence,
                details=_details(report, entry, finding),
                seconds=_seconds(entry) if number not in timed else 0.0,
            )
            timed.add(number)
        if not row.findings and not _is_known_itself(row):
            kind = Kind.NOT_JUDGED if row.met else Kind.NOT_APPLICABLE
            yield Point(
                kind=kind,
                requirement=row.requirement,
                title=row.title,
                sentence=row.why_not_judged or row.why_not or "no run was judged",
                details={},
            )
    for number, entry in entries.items():
        if entry.known is not None:
            yield Point(
                kind=Kind.KNOWN,
                requirement=entry.known.requirement,
                title=entry.known.case,
                run=names[number],
                sentence=entry.known.cause,
                details=_details(report, entry, None),
                seconds=_seconds(entry),
            )
        elif entry.left_out:
            yield Point(
                kind=Kind.LEFT_OUT,
                requirement=_HARNESS,
                title="run and judged",
                run=names[number],
                sentence=entry.left_out,
                details={},
            )
        elif entry.verdict is None:
            yield Point(
                kind=Kind.LOST,
                requirement=_HARNESS,
                title="run and judged",
                run=names[number],
                sentence=entry.error,
                details=_details(report, entry, None),
                seconds=_seconds(entry),
            )
    if report.interrupted:
        yield _global(Kind.LOST, "all runs finished", f"interrupted: {report.interrupted}")
    elif not report.lost and not any(row.findings for row in rows):
        yield _global(Kind.UNKNOWN, "something was judged", "nothing was judged")


def _is_known_itself(row: Row) -> bool:
    """Whether each of its runs met a deviation of this requirement, which is a point of its own."""
    return bool(row.met) and all(k.requirement == row.requirement for k in row.met.values())


def _global(kind: Kind, title: str, sentence: str) -> Point:
    return Point(kind=kind, requirement=_HARNESS, title=title, sentence=sentence, details={})


def _names(report: Report) -> dict[int, str]:
    """Of each run, by its number from 1.  A name that several runs have gets the number added."""
    names = [entry.name for entry in report.entries]
    return {
        number: name if names.count(name) == 1 else f"{name} (run {number})"
        for number, name in enumerate(names, 1)
    }


def _seconds(entry: Entry) -> float:
    return entry.seconds if entry.seconds is not None else 0.0


def _details(report: Report, entry: Entry, finding: Finding | None) -> dict[str, str | list[str]]:
    """Evidence and where the run is stuck, if the point is not valid; builds; commands."""
    found: dict[str, str | list[str]] = {}
    if finding is not None and finding.evidence and entry.manifest is not None:
        started_ns = entry.manifest.started_ns
        found["records"] = [
            f"{moment(record, started_ns)}  {record_text(record)}"
            for record in sorted(finding.evidence, key=lambda record: record.t_ns)
        ]
    known = entry.explained.get(finding.requirement) if finding is not None else entry.known
    if known is not None and (finding is None or finding.outcome is Outcome.VIOLATED):
        found["known deviation"] = known.name
        found["cause"] = known.cause
        found["reproduce"] = shlex.join(show_again(known))
    if entry.stuck and (finding is None or finding.outcome is not Outcome.VALID):
        found["stuck"] = list(entry.stuck)
    if entry.manifest is not None:
        found["source"] = build_text(entry.manifest.source)
        found["destination"] = build_text(entry.manifest.destination)
    if entry.path is not None and entry.path not in report.removed:
        found["run directory"] = str(entry.path)
        found["run again"] = shlex.join(report.repeat(entry))
        if entry.verdict is not None:
            found["judge again"] = shlex.join(entry.recheck)
    return found
