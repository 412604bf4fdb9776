"""Reports as files.  The suffix of the name selects the type.

A type is imported when a report of it is written: HTML and JUnit need libraries.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from harness.errors import UsageError, refusal
from harness.history import rundir
from harness.history.rundir import History
from harness.report import json_report, tap
from harness.report.summary import Report

KINDS = (".html", ".json", ".tap", ".xml")


class _Histories(Mapping[Path, History]):
    """Histories of run directories, each read when it is used."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths

    def __getitem__(self, path: Path) -> History:
        if path not in self._paths:
            raise KeyError(path)
        return rundir.load(path)

    def __iter__(self) -> Iterator[Path]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def check(path: Path) -> None:
    """Check that a report can be written to ``path``, as far as that can be known before.

    A missing folder is no error: ``write`` makes it.

    :raise UsageError: its suffix is unknown, or it cannot be written there
    """
    if path.suffix not in KINDS:
        raise UsageError(f"{path}: unknown report type: the name must end in {', '.join(KINDS)}")
    if path.is_dir():
        raise UsageError(f"{path}: cannot write the report: it is a folder")
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    if there != path and not there.is_dir():
        raise UsageError(f"{path}: cannot write the report: {there} is not a folder")
    if not os.access(there, os.W_OK):
        raise UsageError(f"{path}: cannot write the report: {there} is not writable")


def write(path: Path, report: Report) -> None:
    """Write ``report`` to ``path``.

    :raise HarnessError: it cannot be written
    """
    rendered = _rendered(path, report)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rendered)
    except OSError as error:
        raise refusal(f"{path}: cannot write the report", error) from error


def _rendered(path: Path, report: Report) -> bytes:
    match path.suffix:
        case ".tap":
            return tap.render(report).encode()
        case ".xml":
            from harness.report import junit  # noqa: PLC0415 - see above

            return junit.render(report)
        case ".json":
            return json_report.document(report)
    from harness.report import html  # noqa: PLC0415 - see above

    judged = [entry.path for entry in report.entries if entry.path and entry.verdict]
    return html.render(report, _Histories(judged), folder=path.parent.resolve()).encode()
