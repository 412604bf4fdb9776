"""``vfio-multifd repro``: show findings in QEMU again."""

import argparse

from harness.commands.arguments import add_qemus, add_runs, add_trace_events
from harness.commands.output import say
from harness.job import repro
from harness.job.settings import Settings


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.description = (
        "Runs the scenario of each finding NAME and checks that it shows that finding, and no "
        "other failure.  Exit status: 0 shown, 1 not shown, 2 not a finding of this QEMU's "
        "version, 3 a run was lost."
    )
    parser.add_argument("name", nargs="*", metavar="NAME",
                        help="finding, as in README's track record (default: all)")  # fmt: skip
    add_qemus(parser)
    add_trace_events(parser)
    add_runs(parser)


def run(options: argparse.Namespace) -> int:
    """Run it; the exit status."""
    settings = Settings(qemu=options.qemu, qemu_dst=options.qemu_dst)
    return repro.repro(options.name, settings, options.runs, options.trace_events, say)
