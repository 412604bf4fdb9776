"""One **run** of one scenario: session, judgement, and what is kept of both.

The only place that joins ``session``, ``check`` and ``report``; the command line and the
pytest plugin both start here.
"""

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path

from harness import interrupt
from harness.check import deviations
from harness.check.deviations import Deviation
from harness.check.judge import judge
from harness.check.verdict import Verdict
from harness.history import contract, private
from harness.history.rundir import (
    BY_HAND,
    DESTINATION_STDERR,
    HISTORY,
    SOURCE_STDERR,
    History,
    RunDir,
)
from harness.job import scenario_checks
from harness.proxy.capture import Capture
from harness.report import by_hand
from harness.scenario import Scenario
from harness.session.log import Progress, silent
from harness.session.replay import ReplaySession
from harness.session.session import Session


@dataclass(frozen=True, slots=True, repr=False)  # asyncio.run() asks for it, of all records
class Run:
    """A run that was made and judged."""

    rundir: Path
    history: History
    verdict: Verdict
    next: "Run | None" = None
    """The migration that followed it (``Scenario.then``)."""

    @property
    def known(self) -> Deviation | None:
        """The intermittent known deviation that interrupted it, if one did."""
        return interrupted_by(self.history, self.verdict)

    @property
    def explained(self) -> dict[str, Deviation]:
        """The known deviation behind each violation that has one, by requirement."""
        return explained(self.history, self.verdict)


@functools.cache
def known_deviations() -> tuple[Deviation, ...]:
    """The project's own list."""
    path = Path(deviations.__file__).with_name("known_deviations.toml")
    return deviations.parse(path.read_text(), str(path))


def interrupted_by(history: History, verdict: Verdict) -> Deviation | None:
    """The known deviation that every violation of ``verdict`` comes from, if there is one."""
    builds = history.manifest.source, history.manifest.destination
    return deviations.interrupted_by(known_deviations(), verdict, *builds)


def explained(history: History, verdict: Verdict) -> dict[str, Deviation]:
    """The known deviation behind each violation of ``verdict`` that has one, by requirement."""
    builds = history.manifest.source, history.manifest.destination
    return deviations.explain(known_deviations(), verdict, *builds)


async def run_scenario(
    scenario: Scenario,
    runs_dir: Path,
    *,
    trace_events: str = "",
    progress: Progress = silent,
    has_capture: bool = False,
    replayed: Capture | None = None,
) -> Run:
    """Run ``scenario`` in a new directory below ``runs_dir``, and judge it.

    :raise HarnessError: the run could not be made or judged; it says nothing about QEMU
    """
    rundir = RunDir.create(runs_dir, scenario.name)
    return await run_in(
        rundir,
        scenario,
        trace_events=trace_events,
        progress=progress,
        has_capture=has_capture,
        replayed=replayed,
    )


async def run_in(
    rundir: RunDir,
    scenario: Scenario,
    *,
    trace_events: str = "",
    progress: Progress = silent,
    has_capture: bool = False,
    replayed: Capture | None = None,
) -> Run:
    """Likewise in a directory that is there.

    However it ends, no process is left; a directory in which no QEMU ever said anything
    is removed again.

    :param has_capture: keep what the source sends in the run directory
    :param replayed: takes the source's place; ``scenario`` is ``scenario_of`` it

    :raise UsageError: ``scenario`` cannot be run
    """
    if replayed is not None:
        session: Session = ReplaySession(scenario, rundir, trace_events, progress, capture=replayed)
    else:
        session = Session(scenario, rundir, trace_events, progress, has_capture)
    try:
        if replayed is None:  # else its own session compares it with the capture
            scenario_checks.require(scenario)
        history = await session.run()
    except BaseException:
        if not any((rundir.path / name).exists() for name in (SOURCE_STDERR, DESTINATION_STDERR)):
            shutil.rmtree(rundir.path, ignore_errors=True)
        raise
    progress("judge")
    return _judged(session, history)


def _judged(session: Session, history: History) -> Run:
    """The verdict on ``history``, and on those of the migrations that followed."""
    # Before the verdict: a run that cannot be judged can still be repeated by hand.
    script = session.rundir.path / BY_HAND
    private.write(script, by_hand.render(history).encode())
    script.chmod(0o700)
    with interrupt.at_once():
        contract.check(history.records, history.scenario, str(session.rundir.path / HISTORY))
        verdict = judge(history)
    session.rundir.write_verdict(verdict.to_json())
    followed = None
    if session.next is not None and session.next_history is not None:
        followed = _judged(session.next, session.next_history)
    return Run(session.rundir.path, history, verdict, followed)
