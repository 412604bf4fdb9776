"""``vfio-multifd doctor``: check this machine's prerequisites."""

import argparse

from harness.commands.arguments import add_json, add_runs
from harness.doctor import examination


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.description = "Reports what this machine lacks to run the main job, and how to fix it."
    parser.add_argument("--qemu", action="append", default=[], metavar="NAME|PATH",
                        help="QEMU to check (default: the one that `run` takes) "
                        "(repeatable)")  # fmt: skip
    add_runs(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Run it; the exit status."""
    return examination.report(options.qemu, options.runs, is_json=options.json)
