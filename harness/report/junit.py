"""The report as JUnit XML, which Jenkins, GitLab and others show.

Each requirement is a test suite with the property ``requirement``; each run of it is a test case.
A test case has no properties in the schemas of Jenkins and Maven Surefire, so the run directory
and the commands are in its output.

==================  ========  =========================================================
verdict             JUnit     because
==================  ========  =========================================================
valid               passed
violated            failure
unknown             error     it could not be judged; skipped would be shown as green,
                              and the exit status is not 0
lost                error     the harness or a machine failed, not QEMU
known deviation     skipped   it is known, has a reason, and the exit status is 0
not judged          skipped   all runs met known deviations
not applicable      skipped
left out            skipped   this machine or build lacks what it needs
==================  ========  =========================================================
"""

import io
import re
from collections.abc import Iterable, Iterator

import junitparser

from harness import PROGRAM
from harness.report.ci_points import Kind, Point, points
from harness.report.summary import Report

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot represent."""

_RESULTS = {
    Kind.VIOLATED: junitparser.Failure,
    Kind.UNKNOWN: junitparser.Error,
    Kind.LOST: junitparser.Error,
    Kind.KNOWN: junitparser.Skipped,
    Kind.NOT_JUDGED: junitparser.Skipped,
    Kind.NOT_APPLICABLE: junitparser.Skipped,
    Kind.LEFT_OUT: junitparser.Skipped,
}


def render(report: Report) -> bytes:
    """The document, in UTF-8."""
    suites: dict[str, list[Point]] = {}
    for point in points(report):
        suites.setdefault(point.requirement, []).append(point)
    document = junitparser.JUnitXml(PROGRAM)
    for requirement, found in suites.items():
        document.add_testsuite(_suite(requirement, report.titles.get(requirement, ""), found))
    # Not update_statistics(): Jenkins' schema does not have the attribute skipped up here.
    document.tests = sum(suite.tests for suite in document)
    document.failures = sum(suite.failures for suite in document)
    document.errors = sum(suite.errors for suite in document)
    document.time = round(sum(suite.time for suite in document), 3)
    file = io.BytesIO()
    document.write(file)
    return file.getvalue() + b"\n"


def _suite(requirement: str, title: str, found: Iterable[Point]) -> junitparser.TestSuite:
    suite = junitparser.TestSuite(requirement)
    suite.add_property("requirement", requirement)
    if title:
        suite.add_property("title", title)
    suite.add_testcases([_case(point) for point in found])
    return suite


def _case(point: Point) -> junitparser.TestCase:
    case = junitparser.TestCase(
        _legal(point.run or point.title),
        classname=f"{PROGRAM}.{point.requirement}",
        time=round(point.seconds, 3),
    )
    text = "".join(_lines(point))
    result = _RESULTS.get(point.kind)
    if result is junitparser.Skipped:
        case.result = result(_legal(_message(point)))
    elif result is not None:
        case.result = failed = result(_legal(_message(point)), str(point.kind))
        failed.text = _legal(f"{point.sentence}\n{text}")
        return case
    if text:
        case.system_out = _legal(text)
    return case


def _message(point: Point) -> str:
    prefix = "" if point.kind is Kind.NOT_APPLICABLE else f"{point.kind}: "
    return " ".join(f"{prefix}{point.sentence}".split())


def _lines(point: Point) -> Iterator[str]:
    for name, text in point.details.items():
        if isinstance(text, str):
            yield f"{name}: {text}\n"
        else:
            yield f"{name}:\n"
            yield from (f"    {line}\n" for line in text)


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)
