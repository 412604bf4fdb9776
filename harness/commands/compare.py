"""``vfio-multifd compare``: compare saved runs of two builds."""

import argparse
from pathlib import Path

from harness.commands.arguments import add_json
from harness.commands.output import complain
from harness.job import saved


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.description = (
        "Judges the saved runs BEFORE and AFTER by today's rules, matches them by scenario, and "
        "reports what changed: verdicts by requirement, downtime and its parts, throughput, "
        "spread over channels, memory.  Measurements are reported, not judged.  Needs no QEMU.  "
        "Exit status: 0 no verdict got worse, 1 something is violated that was not, 2 something "
        "that was valid could not be judged, 3 a run was lost or nothing can be compared."
    )
    for name in ("before", "after"):
        parser.add_argument(name, type=Path, metavar=name.upper(),
                            help="run directory, or a folder of them")  # fmt: skip
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Run it; the exit status."""
    return saved.compare(options.before, options.after, is_json=options.json, complain=complain)
