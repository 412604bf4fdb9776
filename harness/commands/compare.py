"""The command that compares saved runs: compare."""

import argparse
from pathlib import Path

from harness.commands.arguments import Commands, add_json
from harness.commands.output import complain


def add(commands: Commands) -> None:
    """Add it."""
    parser = commands.add_parser("compare", help="what changed between saved runs of two builds")
    parser.set_defaults(call=_compare)
    parser.description = (
        "Judges the saved runs BEFORE and AFTER by today's rules, matches them by scenario, and "
        "tells what changed: verdicts by requirement, downtime and its parts, throughput, spread "
        "over channels, memory.  Numbers are told, not judged.  Needs no QEMU.  Exit status: "
        "0 no verdict got worse, 1 something is violated that was not, 2 something that was "
        "valid is not judged now, 3 a run was lost or nothing can be compared."
    )
    parser.add_argument("before", type=Path, metavar="BEFORE",
                        help="a run directory, or a folder of them")  # fmt: skip
    parser.add_argument("after", type=Path, metavar="AFTER", help="likewise")
    add_json(parser)


def _compare(options: argparse.Namespace) -> int:
    from harness.job import job  # noqa: PLC0415

    return job.compare(options.before, options.after, is_json=options.json, complain=complain)
