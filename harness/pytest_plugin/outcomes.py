"""Tells another program what is collected and how each test ends (``--outcomes FILE``).

One JSON object per line is written to FILE, as it happens::

    {"kind": "started", "rootdir"}
    {"kind": "collected", "nodeid", "marks": [...], "requirements": [...]}
    {"kind": "not collected", "nodeid", "outcome": "error" | "skipped", "reason", "details"}
    {"kind": "ended", "nodeid", "outcome", "reason", "details", "properties": [[name, value]],
     "seconds": {"setup", "call", "teardown"}}

``outcome`` is one of ``passed``, ``failed``, ``error`` (in set-up or teardown), ``skipped``,
``xfailed``, ``xpassed``.  A test without ``ended`` is one that pytest did not survive.
"""

import signal
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest


class Outcomes:
    """The plugin; ``close`` is called at the end of the session."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._phases: dict[str, list[pytest.TestReport]] = {}

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """What node ids are relative to."""
        self._tell(kind="started", rootdir=str(session.config.rootpath))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """What will be run, in this order."""
        for item in session.items:
            marks = [mark.name for mark in item.iter_markers()]
            found = [str(r) for mark in item.iter_markers("requirement") for r in mark.args]
            self._tell(
                kind="collected",
                nodeid=item.nodeid,
                marks=sorted(set(marks)),
                requirements=sorted(set(found)),
            )

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be imported, or skips itself."""
        if not report.passed:
            self._tell(
                kind="not collected",
                nodeid=report.nodeid,
                outcome="error" if report.failed else "skipped",
                reason=_reason(report),
                details=report.longreprtext,
            )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A phase of a test; after the last one the test is written."""
        phases = self._phases.setdefault(report.nodeid, [])
        phases.append(report)
        if report.when == "teardown":
            del self._phases[report.nodeid]
            outcome, telling = _judge(phases)
            self._tell(
                kind="ended",
                nodeid=report.nodeid,
                outcome=outcome,
                reason=_reason(telling),
                details="\n".join(phase.longreprtext for phase in phases if phase.failed),
                properties=phases[-1].user_properties,
                seconds={str(phase.when): round(phase.duration, 3) for phase in phases},
            )

    def pytest_unconfigure(self) -> None:
        """The end."""
        self._file.close()

    def _tell(self, **line: Any) -> None:
        self._file.write(msgspec.json.encode(line, enc_hook=str) + b"\n")


def take_sigterm_as_interrupt() -> None:
    """SIGTERM, from the program that started this one, tears fixtures down as Ctrl-C does."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))


def _judge(phases: list[pytest.TestReport]) -> tuple[str, pytest.TestReport]:
    """How the test ended, and the phase that shows why."""
    for phase in phases:
        if phase.failed:
            return "failed" if phase.when == "call" else "error", phase
    for phase in phases:
        if hasattr(phase, "wasxfail"):
            return "xfailed" if phase.skipped else "xpassed", phase
        if phase.skipped:
            return "skipped", phase
    return "passed", phases[-1]


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """One line."""
    if hasattr(report, "wasxfail"):
        text = report.wasxfail.removeprefix("reason: ") or "no reason given"
    elif report.passed:
        return ""
    elif isinstance(report.longrepr, tuple):  # path, line, reason of a skip
        text = report.longrepr[2].removeprefix("Skipped: ")
    else:
        crash = getattr(report.longrepr, "reprcrash", None)
        text = crash.message if crash is not None else _last_error(report.longreprtext)
        phase = getattr(report, "when", None)
        if phase in {"setup", "teardown"}:
            text = f"{phase}: {text}"
    return " ".join(text.split())[:1000]


def _last_error(text: str) -> str:
    """The line of a traceback that names the error, else the first line."""
    lines = text.strip().splitlines()
    told = [line[1:] for line in lines if line.startswith("E ")]
    return (told or lines or [""])[-1 if told else 0]
