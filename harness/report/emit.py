"""Writes a report in all forms that are wanted: on standard output, and as files."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.errors import HarnessError
from harness.report import comparison, comparison_text, files, json_report, terminal
from harness.report.summary import Entry, Report


def emit(
    report: Report,
    reports: Sequence[Path],
    before: Sequence[Entry] | None,
    complain: Callable[[str], None],
    *,
    is_json: bool,
    runs_printed: bool,
) -> int:
    """Print the report, write it to the files ``reports``, and return the exit status.

    Standard output comes first: neither a file that cannot be written, which is reported, nor a
    signal meanwhile hides the verdicts.

    :param before: runs to compare with.  None if there is nothing to compare
    """
    compared = comparison.compare(before, report.entries) if before and report.entries else None
    if is_json:
        sys.stdout.write(json_report.document(report, compared).decode())
    elif report.interrupted or len(report.lost) < len(report.entries):
        out = terminal.console(is_plain=not sys.stdout.isatty())
        terminal.print_report(out, report, runs_printed=runs_printed)
        if compared is not None:
            text = "\n".join(comparison_text.lines(compared))
            sys.stdout.write(f"\nCompared with the baseline:\n\n{text}\n")
    # Else nothing was judged, and the reason is on standard error.
    sys.stdout.flush()
    refused = 0
    for path in reports:
        try:
            files.write(path, report)
        except HarnessError as error:
            complain(str(error))
            refused = max(refused, error.exit_status)
    if refused:
        return refused
    if compared is None or report.interrupted:
        return report.exit_status
    return compared.exit_status
