"""A **run** of a scenario: for each of its migrations a session, a verdict, a run directory.

The command line and the pytest plugin both start here.  What judges is imported while the QEMUs
start.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import interrupt
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
from harness.scenario import Scenario
from harness.session.assessment import Assessment
from harness.session.log import Progress, silent
from harness.session.peer import Peer
from harness.session.session import Session

if TYPE_CHECKING:
    from harness.check.deviations import Deviation
    from harness.proxy.capture import Capture


@dataclass(frozen=True, slots=True, repr=False)  # asyncio.run() asks for it, of all records
class Run:
    """A migration that was made and judged."""

    rundir: Path
    history: History
    verdict: Verdict

    @property
    def known(self) -> Deviation | None:
        """The intermittent known deviation that interrupted it, if one did."""
        from harness.job.known import interrupted_by  # noqa: PLC0415 - see above

        return interrupted_by(self.history, self.verdict)

    @property
    def explained(self) -> dict[str, Deviation]:
        """The known deviation behind each violation that has one, by requirement."""
        from harness.job.known import explained  # noqa: PLC0415 - see above

        return explained(self.history, self.verdict)


async def run_scenario(
    scenario: Scenario,
    runs_dir: Path,
    *,
    trace_events: str = "",
    progress: Progress = silent,
    has_capture: bool = False,
    replayed: Capture | None = None,
) -> tuple[Run, ...]:
    """Run ``scenario`` in a new directory below ``runs_dir``, and judge it.

    :raise HarnessError: the run could not be made or judged; it says nothing about QEMU
    """
    return await run_in(
        run_dirs(runs_dir, scenario),
        scenario,
        trace_events=trace_events,
        progress=progress,
        has_capture=has_capture,
        replayed=replayed,
    )


def run_dirs(runs_dir: Path, scenario: Scenario) -> list[RunDir]:
    """Make a new directory below ``runs_dir`` for each migration of ``scenario``.

    :raise HarnessError: ``runs_dir`` cannot be made or written
    """
    made: list[RunDir] = []
    try:
        for migration in scenario.migrations():
            made.append(RunDir.create(runs_dir, migration.name))
    except BaseException:
        _remove_unused(made, ())
        raise
    return made


async def run_in(
    rundirs: Sequence[RunDir],
    scenario: Scenario,
    *,
    trace_events: str = "",
    progress: Progress = silent,
    has_capture: bool = False,
    replayed: Capture | None = None,
) -> tuple[Run, ...]:
    """Make each migration of ``scenario``, in its directory of ``rundirs``, and judge them: as
    many runs as there were migrations.  One that no QEMU runs the guest for is not made.

    However it ends, no process is left; a directory in which no QEMU ever wrote a word is
    removed again.

    :param has_capture: keep what the first source sends in the run directory
    :param replayed: takes the source's place; ``scenario`` is ``scenario_of`` it

    :raise UsageError: ``scenario`` cannot be run
    """
    histories: list[tuple[RunDir, History]] = []
    source: Peer | Capture | None = replayed
    async with contextlib.AsyncExitStack() as undo:
        undo.callback(_remove_unused, rundirs, histories)
        if replayed is None:  # else the session compares it with the capture
            scenario_checks.require(scenario)
        for number, (migration, rundir) in enumerate(
            zip(scenario.migrations(), rundirs, strict=True)
        ):
            has_own_capture = has_capture and not number
            session = Session(
                migration, rundir, trace_events, progress, has_own_capture, source, _assess
            )
            histories.append((rundir, await session.run()))
            source = session.heir
            if source is None:
                break
            undo.push_async_callback(source.give_up)  # a QEMU between two sessions
    # Only now: a migration that follows is not to wait for a verdict.
    progress("judge")
    return tuple(_judged(*each) for each in histories)


def _remove_unused(rundirs: Sequence[RunDir], histories: Sequence[tuple[RunDir, History]]) -> None:
    """Remove those of ``rundirs`` that have no history, and in which no QEMU was started."""
    for rundir in rundirs[len(histories) :]:
        if not any((rundir.path / name).exists() for name in (SOURCE_STDERR, DESTINATION_STDERR)):
            shutil.rmtree(rundir.path, ignore_errors=True)


def _assess(history: History) -> Assessment:
    """Judge a run that is not over."""
    from harness.job.assess import assess  # noqa: PLC0415 - see above

    return assess(history)


def _judged(rundir: RunDir, history: History) -> Run:
    """Judge ``history`` and keep the verdict."""
    from harness.check.judge import judge  # noqa: PLC0415 - see above
    from harness.report import by_hand  # noqa: PLC0415

    # Before the verdict: a run that cannot be judged can still be repeated by hand.
    script = rundir.path / BY_HAND
    private.write(script, by_hand.render(history).encode())
    script.chmod(0o700)
    with interrupt.at_once():
        contract.check(history.records, history.scenario, str(rundir.path / HISTORY))
        verdict = judge(history)
    rundir.write_verdict(verdict.to_json())
    return Run(rundir.path, history, verdict)
