"""``vfio-multifd recheck``: judge saved runs again."""

import argparse
from pathlib import Path

from harness.check.judge import TITLES
from harness.commands.arguments import add_json, add_report
from harness.commands.output import complain
from harness.job import saved
from harness.report import files
from harness.report.emit import emit
from harness.report.summary import Report


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.description = "Judges saved runs again, by today's rules.  Needs no QEMU."
    parser.add_argument("dir", nargs="+", type=Path, metavar="DIR",
                        help="run directory, or a folder of them")  # fmt: skip
    add_report(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Run it; the exit status.

    :raise UsageError: there is no run, or a report cannot be written
    """
    for path in options.report:
        files.check(path)
    entries = [each for path in options.dir for each in saved.saved(path, complain)]
    report = Report(entries=tuple(entries), titles=TITLES)
    return emit(report, options.report, None, complain, is_json=options.json, runs_printed=False)
