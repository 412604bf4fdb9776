"""One line for each reason of the tests that failed as expected, in place of one for each test.

A known deviation shows in many tests.  pytest's own lines (``-rx``) repeat its cause in each.
"""

from collections import Counter

import pytest


class ExpectedFailures:
    """The plugin of one run: in the process that the user started, not in xdist's workers."""

    def __init__(self) -> None:
        self._reasons: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count the reason of a test that failed as expected."""
        if report.skipped and hasattr(report, "wasxfail"):
            reason = report.wasxfail.removeprefix("reason: ")
            self._reasons[reason or "no reason given"] += 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The lines, most frequent first; none where pytest lists each test itself."""
        if not self._reasons or terminalreporter.hasopt("x"):
            return
        terminalreporter.section("expected failures")
        for reason, count in self._reasons.most_common():
            terminalreporter.write_line(f"XFAIL [{count}] {reason}")
