"""Saved runs: judged again by today's rules, or compared."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.check.judge import TITLES, judge
from harness.errors import UsageError
from harness.history import rundir
from harness.job import entry
from harness.report import comparison, comparison_text, files, json_report
from harness.report.emit import emit
from harness.report.summary import Entry, Report

Complain = Callable[[str], None]
"""Prints one line on standard error."""


def recheck(
    paths: Sequence[Path], *, is_json: bool, complain: Complain, reports: Sequence[Path] = ()
) -> int:
    """Judge the saved runs at or below ``paths`` again, report, and give the exit status.

    :param reports: files to write the report to as well

    :raise UsageError: there is none
    """
    for path in reports:
        files.check(path)
    entries = [each for path in paths for each in saved(path, complain)]
    report = Report(entries=tuple(entries), titles=TITLES)
    return emit(report, reports, None, complain, is_json=is_json, runs_printed=False)


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


def compare(before: Path, after: Path, *, is_json: bool, complain: Complain) -> int:
    """Report what changed between the runs at or below both, and give the exit status.

    :raise UsageError: there is none
    :raise HistoryError: no scenario is on both sides
    """
    old, new = saved(before, complain), saved(after, complain)
    if not any(each.error for each in (*old, *new)):
        comparison.require_common([each.name for each in old], [each.name for each in new])
    found = comparison.compare(old, new)
    if is_json:
        sys.stdout.write(json_report.compared(found).decode())
    else:
        sys.stdout.writelines(f"{line}\n" for line in comparison_text.lines(found))
    return found.exit_status


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
    try:
        history = rundir.load(path)
        return entry.judged(path, history, judge(history), time.monotonic() - started)
    except Exception as failure:  # noqa: BLE001 - a bug of ours must not lose the other runs
        return entry.lost(path.name, path, failure)
