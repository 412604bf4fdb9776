"""What a report has of a run: an :class:`Entry`, with a verdict or with why there is none."""

import traceback
from collections.abc import Iterator
from pathlib import Path

import msgspec

from harness.check.verdict import Verdict
from harness.errors import LOST, SYSTEM_ERRORS, HarnessError, of_the_system
from harness.history.rundir import History
from harness.history.session import NotCaptured, Replayed
from harness.report.summary import Entry


def judged(path: Path, history: History, verdict: Verdict, seconds: float | None = None) -> Entry:
    """Of the run in ``path``, of which ``history`` and ``verdict`` are.

    :param seconds: that it took to judge it; None for those that it took to make it
    """
    from harness.job.known import explained, interrupted_by  # noqa: PLC0415 - see harness.job.job
    from harness.measure.measured import measured  # noqa: PLC0415
    from harness.report import stuck  # noqa: PLC0415

    manifest = history.manifest
    if seconds is None:
        seconds = (manifest.ended_ns - manifest.started_ns) / 1e9
    return Entry(
        name=history.scenario.name,
        path=path,
        manifest=manifest,
        scenario=history.scenario,
        verdict=verdict,
        measured=measured(history),
        seconds=seconds,
        known=interrupted_by(history, verdict),
        explained=explained(history, verdict),
        stuck=stuck.describe(history),
        replay=tuple(_replay_arguments(history)),
        no_capture=next(
            (r.args.why for r in history.records if isinstance(r.args, NotCaptured)), ""
        ),
    )


def lost(name: str, path: Path | None, failure: Exception, seconds: float | None = None) -> Entry:
    """Of a run without a verdict.  A bug of the harness prints its traceback on standard error.

    :param path: its directory, if one was made
    """
    there = path if path is not None and path.exists() else None
    if isinstance(failure, SYSTEM_ERRORS):
        failure = of_the_system(failure, doing=name)
    error, status = str(failure), LOST
    if isinstance(failure, HarnessError):
        status = failure.exit_status
    else:
        traceback.print_exception(failure)
        error = f"{there or name}: {failure!r}: a bug of the harness"
    return Entry.lost(name, there, error, status, failure, seconds)


def _replay_arguments(history: History) -> Iterator[str]:
    for record in history.records:
        if isinstance(record.args, Replayed):
            yield record.args.capture
            yield from ("--qemu", history.scenario.qemu_dst)
            for fault in history.scenario.faults:
                yield from ("--fault", msgspec.json.encode(fault).decode())
