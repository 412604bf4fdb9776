"""Arguments that several commands share."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness.errors import UsageError
from harness.scenario import strict_json
from harness.scenario.fault_plan import Fault, FaultPlan
from harness.scenario.ranges import Deadline
from harness.scenario.sizes import size_of

RUNS = Path("runs")


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


def count(text: str) -> int:
    """A number from 1."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def add_qemus(parser: argparse.ArgumentParser) -> None:
    """``--qemu`` and ``--qemu-dst``."""
    parser.add_argument("--qemu", default="", metavar="NAME|PATH",
                        help="source QEMU: a binary, a build tree, or a name in "
                        "`qemu list` (default: the default in that list)")  # fmt: skip
    parser.add_argument("--qemu-dst", default="", metavar="NAME|PATH",
                        help="destination QEMU (default: the source QEMU)")  # fmt: skip


def add_report(parser: argparse.ArgumentParser) -> None:
    """``--report``."""
    parser.add_argument("--report", action="append", default=[], type=Path, metavar="FILE",
                        help="also write the report to FILE: .html, .json, .tap or .xml "
                        "(JUnit) (repeatable)")  # fmt: skip


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true",
                        help="print one JSON document instead of text")  # fmt: skip


def add_fault(parser: argparse.ArgumentParser) -> None:
    """``--fault``, JSON of ``fault_plan``."""
    parser.add_argument("--fault", action="append", default=[], metavar="JSON",
                        help="fault to inject, like "
                        """'{"fault": "drop", "select": {"idx": [3]}}' (repeatable)""")  # fmt: skip


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
                        help="trace-events-all file of the QEMU builds (default: the one next to "
                        "each binary)")  # fmt: skip


def add_runs(parser: argparse.ArgumentParser) -> None:
    """``--runs``."""
    parser.add_argument("--runs", type=Path, default=RUNS, metavar="DIR",
                        help="folder for run directories (default: runs/)")  # fmt: skip


def add_no_progress(parser: argparse.ArgumentParser, what: str) -> None:
    """``--no-progress``; ``what`` is then not printed."""
    parser.add_argument("--no-progress", dest="progress", action="store_false",
                        help=f"do not print {what}, only the report at the end")  # fmt: skip


def add_job(parser: argparse.ArgumentParser) -> None:
    """What a job of migrations takes besides its scenarios."""
    add_fault(parser)
    add_trace_events(parser)
    add_runs(parser)
    add_no_progress(parser, "a line when a run ends")
    parser.add_argument("--steps", action="store_true",
                        help="print each step of each run as it begins, for the log of a hang; "
                        "also with --no-progress, and on standard error with --json")  # fmt: skip
    add_report(parser)
    add_json(parser)


def command_of(options: argparse.Namespace, example: str) -> list[str]:
    """The command line after ``--``.

    :raise UsageError: there is none; ``example`` is a right one
    """
    argv: list[str] = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    if not argv:
        raise UsageError(example)
    return argv
