"""The program: reads the command line, calls the command, and says what went wrong."""

import argparse
import contextlib
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import harness
from harness import interrupt
from harness.commands import (
    bisect,
    by_hand,
    check,
    compare,
    evidence,
    machine,
    measure,
    output,
    qemu,
    runs,
)
from harness.commands.output import complain
from harness.errors import (
    LOST,
    SYSTEM_ERRORS,
    USAGE,
    HarnessError,
    PrerequisiteMissing,
    in_words,
    of_the_system,
)
from harness.report.summary import PROGRAM

_EPILOG = (
    "Exit status: 0 valid, 1 violated, 2 unknown, 3 harness or machine lost, 4 usage: trying "
    "again does not help."
)


def run(argv: Sequence[str]) -> int:
    """Run the command line ``argv``; the exit status.

    :raise KeyboardInterrupt: a signal ended it, and that is said
    """
    status = LOST
    try:
        status = _called(argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        if words := interrupt.words():
            complain(words)
        raise
    except Exception:  # noqa: BLE001 - a bug of the harness: all of it is told
        traceback.print_exc()
    if interrupt.came():
        raise KeyboardInterrupt  # it was reported by the command
    refused = output.failure()
    if refused is not None:
        complain(f"standard output: cannot be written: {in_words(refused)}; what was made is kept")
        return status or LOST
    return status


def _called(argv: Sequence[str]) -> int:
    options = argparse.Namespace()
    try:
        _parser().parse_args(argv, options)
        status: int = options.call(options)
    except HarnessError as error:
        return _failed(error, options)
    except SYSTEM_ERRORS as error:
        return _failed(of_the_system(error), options)
    except SystemExit as ended:  # of argparse: help, or an error
        return ended.code if isinstance(ended.code, int) else 0
    return status


def _failed(error: HarnessError, options: argparse.Namespace) -> int:
    if getattr(options, "json", False):
        from harness.report import json_report  # noqa: PLC0415

        missing = isinstance(error, PrerequisiteMissing)
        told = json_report.failure(str(error), missing=missing, exit_status=error.exit_status)
        with contextlib.suppress(OSError):
            sys.stdout.write(told.decode())
    complain(str(error))
    return error.exit_status


class _Parser(argparse.ArgumentParser):
    """Errors in one line, with an exit status that means usage."""

    def error(self, message: str) -> NoReturn:
        complain(f"{message} ({self.prog} --help tells more)")
        sys.exit(USAGE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="Migrate a VFIO device's state over multifd between two QEMUs, and judge it.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {harness.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (runs, check, compare, measure, evidence, machine, qemu, bisect, by_hand):
        group.add(commands)
    return parser
