"""Saved runs, judged again by today's rules."""

import time
from collections.abc import Callable
from pathlib import Path

from harness.errors import UsageError
from harness.history import rundir
from harness.job import entry
from harness.report.summary import Entry

Complain = Callable[[str], None]
"""Prints one line on standard error."""


def saved(path: Path, complain: Complain) -> list[Entry]:
    """The runs at or below ``path``, judged by today's rules.

    :raise UsageError: there is none
    """
    entries = []
    for found in run_dirs(path):
        each = _recheck_one(found)
        entries.append(each)
        if each.error:
            complain(each.error)
    return entries


def run_dirs(path: Path) -> list[Path]:
    """``path``, or the run directories below it, also damaged ones.

    :raise UsageError: there is none
    """
    marks = (rundir.MANIFEST, rundir.SCENARIO, rundir.HISTORY)
    if any((path / mark).exists() for mark in marks):
        return [path]
    if not path.is_dir():
        what = "not a directory" if path.exists() else "no such directory"
        raise UsageError(f"{path}: {what}; give a run directory, or a folder of them")
    found = sorted({place.parent for mark in marks for place in path.rglob(mark)})
    if not found:
        raise UsageError(f"{path}: no run directory is in it (one has a {rundir.MANIFEST})")
    return found


def _recheck_one(path: Path) -> Entry:
    started = time.monotonic()
    from harness.check.judge import judge  # noqa: PLC0415 - see harness.job.job

    try:
        history = rundir.load(path)
        return entry.judged(path, history, judge(history), time.monotonic() - started)
    except Exception as failure:  # noqa: BLE001 - a bug of ours must not lose the other runs
        return entry.lost(path.name, path, failure)
