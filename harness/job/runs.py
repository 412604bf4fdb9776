"""The **runs** of a job, in the order of its scenarios, however many go on at the same time."""

from __future__ import annotations

import functools
import shutil
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness import interrupt
from harness.errors import HarnessError
from harness.history.rundir import RunDir
from harness.job import entry
from harness.job.run import run_dirs, run_in
from harness.job.saved import Complain
from harness.report.format import ranges
from harness.report.progress import Progress
from harness.report.summary import Entry
from harness.scenario import Scenario

if TYPE_CHECKING:  # a single run needs none of them
    from harness.job.workers import Done, Gone, Step, Workers
    from harness.proxy.capture import Capture


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a job runs its scenarios, and where its report goes."""

    runs_dir: Path
    jobs: int = 1
    """How many scenarios run at the same time."""
    exit_first: bool = False
    """Whether the job ends with the first run that is violated or lost."""
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


@dataclass(eq=False)
class _Run:
    """One scenario of a job."""

    number: int
    scenario: Scenario
    rundirs: Sequence[RunDir] = ()
    """One for each of its migrations, once it has begun."""
    steps: list[str] = field(default_factory=list)
    """Those that are not printed yet."""
    began: float | None = None
    entries: Sequence[Entry] | None = None
    """Of the migrations that were made.  None if it has not ended."""

    @property
    def is_bad(self) -> bool:
        """Whether a migration is violated or lost."""
        return any(each.exit_status not in (0, 2) for each in self.entries or ())

    @property
    def goes_on(self) -> bool:
        """Whether it has begun and not ended."""
        return self.began is not None and self.entries is None

    @property
    def places(self) -> list[Path]:
        """Its directories that exist."""
        return [rundir.path for rundir in self.rundirs if rundir.path.exists()]

    def lost(self, failure: Exception) -> Entry:
        """Its entry if ``failure`` ended it."""
        seconds = None if self.began is None else time.monotonic() - self.began
        path = self.rundirs[0].path if self.rundirs else None
        return entry.lost(self.scenario.name, path, failure, seconds)


class Runs:
    """Makes runs.

    :ivar interrupted: which runs a signal has interrupted, and where what they wrote is; "" if none
    """

    def __init__(
        self,
        wanted: Sequence[Scenario],
        options: RunOptions,
        complain: Complain,
        progress: Progress,
        replayed: Capture | None,
    ) -> None:
        self.interrupted = ""
        self._runs = [_Run(number, each) for number, each in enumerate(wanted, 1)]
        self._options = options
        self._complain = complain
        self._progress = progress
        self._replayed = replayed
        self._complaints: set[str] = set()
        self._printed = 0  # so many runs are printed, with all their entries
        self._last = len(wanted)  # runs after it are not wanted

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Of all runs that were made."""
        return tuple(each for run in self._runs for each in run.entries or ())

    @property
    def stopped(self) -> str:
        """The bad run after which no other was wanted; "" if all were."""
        if self._last == len(self._runs) or self.interrupted:
            return ""
        return f"run {self._last} of {len(self._runs)}, {self._runs[self._last - 1].scenario.name}"

    def make(self) -> None:
        """Make them, until a signal comes."""
        count = min(self._options.jobs, len(self._runs))
        try:
            if count > 1:
                from harness.job.workers import Workers  # noqa: PLC0415 - see above

                self._make_in(Workers(count, self._work))
            else:
                with self._progress:
                    self._make_here()
        except KeyboardInterrupt:
            self.interrupted = self._where()
            for run in self._runs[self._printed :]:
                self._print(run)

    def _make_here(self) -> None:
        """Make one after another."""
        for run in self._runs:
            if run.number <= self._last and self._begin(run):
                self._end(run, self._work(run, functools.partial(self._see, run)))

    def _make_in(self, workers: Workers[_Run, Sequence[Entry]]) -> None:
        """Make as many at the same time as there are ``workers``."""
        left = deque(self._runs)
        with interrupt.held(), workers, self._progress, interrupt.at_once():
            while left or workers.busy_with:
                while left and workers.is_idle:
                    run = left.popleft()
                    if run.number <= self._last and self._begin(run):
                        workers.give(run.number, run)
                for number, news in workers.news() if workers.busy_with else ():
                    self._take(self._runs[number - 1], news)
                self._drop(workers)

    def _take(self, run: _Run, news: str | Done[Sequence[Entry]] | Gone) -> None:
        """There is ``news`` of ``run``."""
        from harness.job.workers import Done  # noqa: PLC0415 - see above

        if isinstance(news, str):
            self._see(run, news)
        elif isinstance(news, Done):
            self._end(run, news.result)
        else:
            self._end(run, [run.lost(HarnessError(f"{run.scenario.name}: its worker: {news.how}"))])

    def _drop(self, workers: Workers[_Run, Sequence[Entry]]) -> None:
        """End the runs that are not wanted any more, and remove what they wrote."""
        workers.end([number for number in workers.busy_with if number > self._last])
        for run in self._runs[self._last :]:
            for path in run.places:
                shutil.rmtree(path, ignore_errors=True)
            run.began = run.entries = None

    def _begin(self, run: _Run) -> bool:
        """Begin ``run``; whether it can be made."""
        run.began = time.monotonic()
        self._see(run, "start")
        try:
            run.rundirs = run_dirs(self._options.runs_dir, run.scenario)
        except Exception as failure:  # noqa: BLE001 - as of a run
            self._end(run, [run.lost(failure)])
            return False
        return True

    def _work(self, run: _Run, step: Step) -> Sequence[Entry]:
        """Make ``run``, here or in a worker: an entry for each migration that was made."""
        try:
            made = interrupt.run(
                run_in(
                    run.rundirs,
                    run.scenario,
                    trace_events=self._options.trace_events,
                    progress=step,
                    has_capture=self._options.has_capture,
                    replayed=self._replayed,
                )
            )
            return [entry.judged(each.rundir, each.history, each.verdict) for each in made]
        except Exception as failure:  # noqa: BLE001 - a bug of ours must not lose the other runs
            return [run.lost(failure)]

    def _see(self, run: _Run, step: str) -> None:
        """``run`` has come to ``step``."""
        run.steps.append(step)
        self._print_in_order()

    def _end(self, run: _Run, entries: Sequence[Entry]) -> None:
        """``run`` has ended with ``entries``."""
        is_left_out = self._options.may_leave_out
        run.entries = [e.as_left_out() if is_left_out and e.cannot_run else e for e in entries]
        if run.is_bad and self._options.exit_first:
            self._last = min(self._last, run.number)
        self._print_in_order()

    def _print_in_order(self) -> None:
        """Print what there is of the first run that is not printed, and of those after it."""
        while self._printed < self._last:
            run = self._runs[self._printed]
            steps, run.steps = run.steps, []
            for step in steps:
                self._progress.step(run.scenario.name, step)
            if run.entries is None:
                return
            self._printed += 1
            self._print(run)

    def _print(self, run: _Run) -> None:
        """Print the entries of ``run``, and complain of those for which there is a reason to."""
        for made in run.entries or ():
            self._progress.end(made)
            if made.error and made.error not in self._complaints:
                self._complaints.add(made.error)
                self._complain(f"{made.error}{f'; see {made.path}/' if made.path else ''}")
            if made.no_capture:
                self._complain(f"{made.name}: no capture: {made.no_capture}")

    def _where(self) -> str:
        """Where a signal has interrupted the runs."""
        left = [run for run in self._runs if run.entries is None]
        found = [run for run in left if run.goes_on] or left[:1]
        if not found:
            return "after the last run"
        of = f"{ranges(run.number for run in found)} of {len(self._runs)}"
        names = ", ".join(run.scenario.name for run in found)
        places = ", ".join(f"{path}/" for run in found for path in run.places)
        is_one = len(found) == 1
        words = f"run{'' if is_one else 's'} {of}, {names}"
        return words + (
            f"; what {'it' if is_one else 'they'} wrote is in {places}" if places else ""
        )
