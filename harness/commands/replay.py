"""``vfio-multifd replay``: replay a captured stream into a destination QEMU."""

import argparse
from pathlib import Path

from harness.commands.arguments import add_job, faults
from harness.commands.output import complain
from harness.job import job
from harness.job.runs import RunOptions
from harness.job.settings import Settings


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.description = (
        "Starts a destination QEMU only, sends it the stream that `run --capture` recorded, with "
        "the faults given, and judges the result."
    )
    parser.add_argument("capture", type=Path, metavar="CAPTURE",
                        help="migration.capture of a run directory")  # fmt: skip
    parser.add_argument("--qemu", default="", metavar="NAME|PATH",
                        help="destination QEMU (default: the default in "
                        "`qemu list`)")  # fmt: skip
    add_job(parser)


def run(options: argparse.Namespace) -> int:
    """Run it; the exit status."""
    how = RunOptions(
        runs_dir=options.runs,
        trace_events=options.trace_events,
        has_progress=options.progress,
        has_steps=options.steps,
        is_json=options.json,
        reports=options.report,
    )
    settings = Settings(qemu=options.qemu, faults=faults(options.fault))
    return job.replay(options.capture, settings, how, complain=complain)
