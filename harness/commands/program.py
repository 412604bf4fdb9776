"""The program: parses the command line, calls the command, and reports what went wrong."""

import argparse
import contextlib
import gc
import importlib
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import harness
from harness import PROGRAM, interrupt
from harness.commands import output
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

_EPILOG = (
    "Exit status: 0 valid, 1 violated, 2 unknown, 3 the harness or a machine failed, 4 usage "
    "(another try gives the same error).  `vfio-multifd COMMAND --help` describes a command."
)


def run(argv: Sequence[str], commands: Mapping[str, str]) -> int:
    """Run the command line ``argv``; the exit status.

    :param commands: name and help of each command
    :raise KeyboardInterrupt: a signal ended it, which was reported
    """
    status = LOST
    try:
        status = _called(argv, commands)
        sys.stdout.flush()
    except KeyboardInterrupt:
        if words := interrupt.words():
            complain(words)
        raise
    except Exception:  # noqa: BLE001 - a bug of the harness is printed in full
        traceback.print_exc()
    if interrupt.came():
        raise KeyboardInterrupt  # the command has reported it
    refused = output.failure()
    if refused is not None:
        complain(f"standard output: cannot write: {in_words(refused)}; run directories are kept")
        return status or LOST
    return status


def _called(argv: Sequence[str], commands: Mapping[str, str]) -> int:
    options = argparse.Namespace()
    try:
        _parser(argv, commands).parse_args(argv, options)
        if not gc.isenabled():  # see harness.cli
            gc.freeze()
            gc.enable()
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
        from harness.report import json_report  # noqa: PLC0415 - only here

        missing = isinstance(error, PrerequisiteMissing)
        document = json_report.failure(str(error), missing=missing, exit_status=error.exit_status)
        with contextlib.suppress(OSError):
            sys.stdout.write(document.decode())
    complain(str(error))
    return error.exit_status


class _Formatter(argparse.HelpFormatter):
    """Has room for the longest name of a command in front of its help."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)


class _Parser(argparse.ArgumentParser):
    """Options are not abbreviated; an error is one line, with the exit status of usage."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Formatter, **settings)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse unknown arguments here, so that the error names this command's help."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        complain(f"{message} (see {self.prog} --help)")
        sys.exit(USAGE)


def _parser(argv: Sequence[str], commands: Mapping[str, str]) -> argparse.ArgumentParser:
    """A parser of all commands; only the one that ``argv`` calls is imported."""
    parser = _Parser(
        prog=PROGRAM,
        description="Migrate a VFIO device's state over multifd between two QEMUs, and judge the "
        "result.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {harness.__version__}")
    parsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    called = next((word for word in argv if not word.startswith("-")), None)
    for name, summary in commands.items():
        command = parsers.add_parser(name, help=summary)
        if name == called:
            module = importlib.import_module(f"harness.commands.{name}")
            command.set_defaults(call=module.run)
            module.add(command)
    return parser
