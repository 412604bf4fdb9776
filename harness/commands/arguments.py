"""Arguments that several commands share."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from harness.errors import UsageError
from harness.scenario import strict_json
from harness.scenario.fault_plan import Fault, FaultPlan
from harness.scenario.ranges import Deadline
from harness.scenario.sizes import size_of

RUNS = Path("runs")


class Commands(Protocol):
    """What ``add`` of each file adds its commands to."""

    def add_parser(self, name: str, /, *, help: str) -> argparse.ArgumentParser:
        """The parser of the new command ``name``."""


def size(text: str) -> int:
    """Bytes, as in 4096, 16M, 1GiB."""
    try:
        return size_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def seconds(text: str) -> float:
    """A time limit: above 0, at most a day."""
    try:
        return msgspec.convert(text, Deadline, strict=False)
    except msgspec.ValidationError as error:
        reason = f"{text!r} is not a number of seconds from 0.01 to 86400"
        raise argparse.ArgumentTypeError(reason) from error


def add_qemus(parser: argparse.ArgumentParser) -> None:
    """``--qemu`` and ``--qemu-dst``."""
    parser.add_argument("--qemu", default="", metavar="NAME|PATH", help="the source's QEMU")
    parser.add_argument("--qemu-dst", default="", metavar="NAME|PATH",
                        help="the destination's QEMU (default: as the source's)")  # fmt: skip


def add_report(parser: argparse.ArgumentParser) -> None:
    """``--report``."""
    parser.add_argument("--report", action="append", default=[], type=Path, metavar="FILE",
                        help="write the report there too, and may be given again: "
                        ".html, .json, .tap, .xml (JUnit)")  # fmt: skip


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")


def add_fault(parser: argparse.ArgumentParser) -> None:
    """``--fault``, JSON of ``fault_plan``."""
    parser.add_argument("--fault", action="append", default=[], metavar="JSON",
                        help="done to packets on their way, and may be given again; like "
                        """'{"fault": "drop", "select": {"idx": [3]}}'""")  # fmt: skip


def faults(texts: Sequence[str]) -> FaultPlan:
    """The fault plan whose faults are given as JSON, one each.

    :raise UsageError: one is no fault; says why
    """
    found: list[Fault] = []
    for text in texts:
        try:
            found.append(strict_json.decode(text.encode(errors="surrogateescape"), Fault))
        except ValueError as error:
            raise UsageError(f"--fault {text}: not a fault: {error}") from error
    return tuple(found)


def add_trace_events(parser: argparse.ArgumentParser) -> None:
    """``--trace-events``."""
    parser.add_argument("--trace-events", default="", metavar="PATH",
                        help="trace-events-all (default: beside the binary)")  # fmt: skip


def add_where(parser: argparse.ArgumentParser) -> None:
    """``--trace-events`` and ``--runs``."""
    add_trace_events(parser)
    parser.add_argument("--runs", type=Path, default=RUNS, metavar="DIR",
                        help="where run directories go (default: runs/)")  # fmt: skip


def add_how_to_run(parser: argparse.ArgumentParser) -> None:
    """All that ``job.run`` takes beside the scenarios."""
    add_fault(parser)
    add_where(parser)
    parser.add_argument("--no-progress", dest="progress", action="store_false",
                        help="print only the report at the end")  # fmt: skip
    parser.add_argument("--steps", action="store_true",
                        help="print each step of each run, for the log of a hang")  # fmt: skip
    add_report(parser)
    add_json(parser)


def command_of(options: argparse.Namespace, example: str) -> list[str]:
    """The command line behind ``--``.

    :raise UsageError: there is none; ``example`` says how it is given
    """
    argv: list[str] = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    if not argv:
        raise UsageError(example)
    return argv
