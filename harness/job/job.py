"""A **job**: several scenarios run one after another, and a report.

A lost run does not stop the others; all runs that were made are reported.
"""

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import interrupt
from harness.check.judge import TITLES
from harness.check.verdict import Outcome
from harness.errors import UsageError
from harness.history.rundir import RunDir
from harness.job import entry, scenario_checks
from harness.job.run import run_in
from harness.job.saved import Complain, saved
from harness.job.settings import Settings, require
from harness.proxy.capture import Capture
from harness.report import comparison, files, terminal
from harness.report.emit import emit
from harness.report.progress import Progress
from harness.report.summary import Entry, Report
from harness.scenario import Scenario
from harness.session import capture as captures
from harness.session.source import scenario_of
from harness.vm import builds, fits


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a job runs its scenarios, and where its report goes."""

    runs_dir: Path
    trace_events: str = ""
    """Path of trace-events-all; empty for the one next to the binary."""
    has_capture: bool = False
    """Whether what each source sends is kept in its run directory."""
    has_progress: bool = True
    """Whether each run is reported when it ends."""
    has_steps: bool = False
    """Whether each step of each run is printed as it begins, also without progress."""
    is_json: bool = False
    reports: Sequence[Path] = ()
    """Files that the report is written to as well (``report.files``)."""
    remove_valid: bool = False
    """Whether the directories of valid runs are removed at the end."""
    baseline: Path | None = None
    """A run directory or a folder of them to compare the runs with: the exit status is then
    about what got worse (``report.comparison``)."""
    may_leave_out: bool = False
    """Whether a run that needs what is not here is left out, and the report says so, as in the
    main job, whose scenarios were not chosen for this build; else it is lost."""


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
        files.check(path)
    if options.has_capture:
        _require_capture(wanted)
    before = None
    if options.baseline is not None:
        before = saved(options.baseline, complain)
        names = [migration.name for each in wanted for migration in each.migrations()]
        comparison.require_common([each.name for each in before], names)
    is_silent = options.is_json or not options.has_progress
    made = _Runs(options, complain, replayed)
    steps = sys.stderr if options.is_json else sys.stdout
    with Progress(
        terminal.console(is_plain=not sys.stdout.isatty()),
        sum(len(each.migrations()) for each in wanted),
        is_live=sys.stdout.isatty() and "CI" not in os.environ and not options.is_json,
        is_silent=is_silent,
        steps=steps if options.has_steps else None,
    ) as progress:
        made.make(wanted, progress)
    report = Report(
        entries=tuple(made.entries),
        titles=TITLES,
        run_options=("--trace-events", options.trace_events) if options.trace_events else (),
        interrupted=made.interrupted,
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
    capture = Capture.open(path)
    binary = builds.find(settings.qemu_dst or settings.qemu)
    wanted = scenario_of(capture, str(binary), settings.faults)
    scenario_checks.require(wanted)
    require(binary, options.trace_events, is_shared=False, has_trace=bool(wanted.trace))
    fits.require(wanted, options.trace_events, is_replayed=True)
    return run([wanted], options, complain=complain, replayed=capture)


def _require_capture(wanted: Sequence[Scenario]) -> None:
    why_not = [captures.why_not(each) for each in wanted]
    if why_not and all(why_not):
        raise UsageError(f"{wanted[0].name}: no capture: {why_not[0]}")


def _valid(entries: Sequence[Entry]) -> Iterator[Path]:
    """Directories of the runs in which everything that was asked is valid."""
    for each in entries:
        if each.path is not None and each.outcome is Outcome.VALID:
            yield each.path


class _Runs:
    """Makes runs one after another.

    :ivar entries: of all that were made
    :ivar interrupted: which run a signal has interrupted, and where what it wrote is; "" if none
    """

    def __init__(self, options: RunOptions, complain: Complain, replayed: Capture | None) -> None:
        self.entries: list[Entry] = []
        self.interrupted = ""
        self._options = options
        self._complain = complain
        self._replayed = replayed
        self._complaints: set[str] = set()
        self._place: Path | None = None
        """The directory of the run that goes on."""

    def make(self, wanted: Sequence[Scenario], progress: Progress) -> None:
        """The runs of ``wanted``, until a signal comes."""
        done = 0
        try:
            for each in wanted:
                progress.begin(each.name)
                made = self._make_one(each, progress)
                done, self._place = done + 1, None
                for one in made:
                    self._keep(one, progress)
        except KeyboardInterrupt:
            self.interrupted = "after the last run"
            if done < len(wanted):
                self.interrupted = f"run {done + 1} of {len(wanted)}, {wanted[done].name}"
                if self._place is not None and self._place.exists():
                    self.interrupted += f"; what it wrote is in {self._place}/"

    def _make_one(self, wanted: Scenario, progress: Progress) -> list[Entry]:
        """The runs of all migrations of ``wanted`` that were made."""
        started = time.monotonic()
        try:
            target = RunDir.create(self._options.runs_dir, wanted.name)
            self._place = target.path
            made = interrupt.run(
                run_in(
                    target,
                    wanted,
                    trace_events=self._options.trace_events,
                    progress=progress.step,
                    has_capture=self._options.has_capture,
                    replayed=self._replayed,
                )
            )
            return [entry.judged(each.rundir, each.history, each.verdict) for each in made]
        except Exception as failure:  # noqa: BLE001 - a bug of ours must not lose the other runs
            return [entry.lost(wanted.name, self._place, failure, time.monotonic() - started)]

    def _keep(self, made: Entry, progress: Progress) -> None:
        """Keep ``made`` for the report, and complain of it where there is a reason to."""
        if self._options.may_leave_out and made.cannot_run:
            made = made.as_left_out()
        self.entries.append(made)
        progress.end(made)
        if made.error and made.error not in self._complaints:
            self._complaints.add(made.error)
            self._complain(f"{made.error}{f'; see {made.path}/' if made.path else ''}")
        if made.no_capture:
            self._complain(f"{made.name}: no capture: {made.no_capture}")
