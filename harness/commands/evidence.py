"""Commands that show what was kept: show, export."""

import argparse
import sys
from pathlib import Path

from harness.commands.arguments import (
    Commands,
)
from harness.errors import refusal


def add(commands: Commands) -> None:
    """Add them."""
    _add_show(commands.add_parser("show", help="tell what a capture holds"))
    _add_export(commands.add_parser("export", help="a run as a trace for ui.perfetto.dev"))


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_show)
    parser.description = "Tells the sections of the main channel and the packets of the others."
    parser.add_argument("capture", type=Path, metavar="CAPTURE",
                        help="migration.capture of a run directory")  # fmt: skip


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_export)
    parser.description = "Writes a run's history as a trace that ui.perfetto.dev opens."
    parser.add_argument("run", type=Path, metavar="DIR", help="a run directory")
    parser.add_argument("--output", "-o", type=Path, required=True, metavar="FILE")


def _show(options: argparse.Namespace) -> int:
    from harness import contents  # noqa: PLC0415

    sys.stdout.writelines(f"{line}\n" for line in contents.lines(options.capture))
    return 0


def _export(options: argparse.Namespace) -> int:
    from harness.history import rundir  # noqa: PLC0415
    from harness.report import perfetto  # noqa: PLC0415

    rendered = perfetto.render(rundir.load(options.run))
    try:
        options.output.write_bytes(rendered)
    except OSError as error:
        raise refusal(f"{options.output}: cannot write", error) from error
    return 0
