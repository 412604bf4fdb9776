"""``vfio-multifd recheck``: judge saved runs again."""

import argparse
from pathlib import Path

from harness.commands.arguments import add_json, add_report
from harness.commands.output import complain
from harness.job import saved


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.description = "Judges saved runs again, by today's rules.  Needs no QEMU."
    parser.add_argument("dir", nargs="+", type=Path, metavar="DIR",
                        help="run directory, or a folder of them")  # fmt: skip
    add_report(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Run it; the exit status."""
    return saved.recheck(
        options.dir, is_json=options.json, complain=complain, reports=options.report
    )
