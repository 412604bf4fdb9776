"""``vfio-multifd export``: convert a run to a trace for ui.perfetto.dev."""

import argparse
from pathlib import Path

from harness.errors import refusal
from harness.history import rundir
from harness.report import perfetto


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.description = "Writes a run's history as a trace that ui.perfetto.dev opens."
    parser.add_argument("run", type=Path, metavar="DIR", help="run directory")
    parser.add_argument("--output", "-o", type=Path, required=True, metavar="FILE",
                        help="file to write")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Run it; the exit status."""
    rendered = perfetto.render(rundir.load(options.run))
    try:
        options.output.write_bytes(rendered)
    except OSError as error:
        raise refusal(f"{options.output}: cannot write", error) from error
    return 0
