"""A **job**: several scenarios run, one after another or several at the same time, and a report.

What is printed is the same in both cases, in the order of the scenarios.  A lost run does not stop
the others; all runs that were made are reported.  What judges and reports is imported while the
QEMUs of the first run start.
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness import interrupt
from harness.check.verdict import Outcome
from harness.errors import UsageError
from harness.job import scenario_checks
from harness.job.runs import RunOptions, Runs
from harness.job.saved import Complain, saved
from harness.job.settings import Settings, require
from harness.report.progress import Progress
from harness.report.summary import Entry, Report
from harness.scenario import Scenario
from harness.session.source import scenario_of
from harness.vm import builds, fits

if TYPE_CHECKING:
    from rich.console import Console

    from harness.proxy.capture import Capture


def run(
    wanted: Sequence[Scenario],
    options: RunOptions,
    *,
    complain: Complain,
    replayed: Capture | None = None,
) -> int:
    """Run all of ``wanted``, report, and give the exit status.

    :param replayed: takes the source's place in the one scenario that is wanted

    :raise UsageError: a report would be of no kind, or nothing of all this can be captured
    :raise HistoryError: the baseline has no run, or none of a scenario that is wanted
    """
    for path in options.reports:
        from harness.report import files  # noqa: PLC0415 - see above

        files.check(path)
    if options.has_capture:
        _require_capture(wanted)
    before = None
    if options.baseline is not None:
        from harness.report import comparison  # noqa: PLC0415 - see above

        before = saved(options.baseline, complain)
        names = [migration.name for each in wanted for migration in each.migrations()]
        comparison.require_common([each.name for each in before], names)
    is_silent = options.is_json or not options.has_progress
    steps = sys.stderr if options.is_json else sys.stdout
    if len(wanted) == 1:
        threading.Thread(target=_import_ahead).start()
    else:
        _import_ahead()  # before there are other processes
    progress = Progress(
        _console,
        sum(len(each.migrations()) for each in wanted),
        is_live=sys.stdout.isatty() and "CI" not in os.environ and not options.is_json,
        is_silent=is_silent,
        steps=steps if options.has_steps else None,
    )
    made = Runs(wanted, options, complain, progress, replayed)
    made.make()
    from harness.check.judge import TITLES  # noqa: PLC0415 - see above
    from harness.report.emit import emit  # noqa: PLC0415

    report = Report(
        entries=made.entries,
        titles=TITLES,
        run_options=("--trace-events", options.trace_events) if options.trace_events else (),
        interrupted=made.interrupted,
        stopped=made.stopped,
        interrupted_status=interrupt.status(),
        removed=frozenset(_valid(made.entries) if options.remove_valid else ()),
    )
    status = emit(
        report,
        options.reports,
        before,
        complain,
        is_json=options.is_json,
        runs_printed=not is_silent,
    )
    for path in report.removed:
        shutil.rmtree(path)
    return status


def replay(path: Path, settings: Settings, options: RunOptions, *, complain: Complain) -> int:
    """Replay the capture ``path``, report, and give the exit status.

    :raise HistoryError: it cannot be read
    :raise PrerequisiteMissing: there is no such QEMU, or it cannot be used
    """
    from harness.proxy.capture import Capture  # noqa: PLC0415 - only here

    capture = Capture.open(path)
    binary = builds.find(settings.qemu_dst or settings.qemu)
    wanted = scenario_of(capture, str(binary), settings.faults)
    scenario_checks.require(wanted)
    require(binary, options.trace_events, is_shared=False, has_trace=bool(wanted.trace))
    fits.require(wanted, options.trace_events, is_replayed=True)
    return run([wanted], options, complain=complain, replayed=capture)


def _import_ahead() -> None:
    """Import what the end of a run needs."""
    from harness.check import judge  # noqa: F401, PLC0415
    from harness.report import emit  # noqa: F401, PLC0415


@functools.cache
def _console() -> Console:
    """Standard output."""
    from harness.report import terminal  # noqa: PLC0415 - see above

    return terminal.console(is_plain=not sys.stdout.isatty())


def _require_capture(wanted: Sequence[Scenario]) -> None:
    from harness.session import capture as captures  # noqa: PLC0415 - only here

    why_not = [captures.why_not(each) for each in wanted]
    if why_not and all(why_not):
        raise UsageError(f"{wanted[0].name}: no capture: {why_not[0]}")


def _valid(entries: Sequence[Entry]) -> Iterator[Path]:
    """Directories of the runs in which everything that was asked is valid."""
    for each in entries:
        if each.path is not None and each.outcome is Outcome.VALID:
            yield each.path
