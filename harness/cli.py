"""The command ``vfio-multifd``: reads the command line, calls, prints, and exits.

Exit statuses: 0 valid, 1 violated, 2 unknown, 3 the harness or a machine was lost (one
line on standard error), 130 interrupted, 143 terminated.
"""

import argparse
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import NoReturn

import harness
from harness.commands import (
    bisect,
    by_hand,
    check,
    compare,
    evidence,
    machine,
    measure,
    qemu,
    runs,
)
from harness.commands.output import complain
from harness.errors import HarnessError, PrerequisiteMissing
from harness.report.summary import INTERRUPTED, LOST, PROGRAM

TERMINATED = 143


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv``; the exit status."""
    options = _parser().parse_args(argv)
    terminated = _take_sigterm_as_interrupt()
    try:
        status: int = options.call(options)
        sys.stdout.flush()
    except HarnessError as error:
        if getattr(options, "json", False):
            from harness.report import json_report  # noqa: PLC0415

            missing = isinstance(error, PrerequisiteMissing)
            sys.stdout.write(json_report.failure(str(error), missing=missing).decode())
        complain(str(error))
        return LOST
    except KeyboardInterrupt:
        complain("terminated" if terminated.is_set() else "interrupted")
        return TERMINATED if terminated.is_set() else INTERRUPTED
    except BrokenPipeError:  # whoever read the output has enough; the status stays open
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return LOST
    except Exception:  # noqa: BLE001 - a bug of the harness: all of it is told
        traceback.print_exc()
        return LOST
    return TERMINATED if terminated.is_set() else status


def _take_sigterm_as_interrupt() -> threading.Event:
    """SIGTERM, from a CI or a time limit, cleans up as Ctrl-C does; whether one came.

    A shell that starts us in the background has SIGINT ignored, and asyncio would leave it
    so: then neither signal would clean up.
    """
    came = threading.Event()

    def interrupt(_number: int, _frame: object) -> None:
        came.set()
        signal.raise_signal(signal.SIGINT)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, interrupt)
    return came


class _Parser(argparse.ArgumentParser):
    """Errors in one line, and with the exit status of a lost harness."""

    def error(self, message: str) -> NoReturn:
        complain(f"{message} ({self.prog} --help tells more)")
        sys.exit(LOST)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="Migrate a VFIO device's state over multifd between two QEMUs, and judge it.",
        epilog="Exit status: 0 valid, 1 violated, 2 unknown, 3 harness or machine lost.",
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {harness.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (runs, check, compare, measure, evidence, machine, qemu, bisect, by_hand):
        group.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
