"""``vfio-multifd rig``: run commands in a virtual machine with the kernel's own VFIO."""

import argparse
import contextlib
import sys
from pathlib import Path

from harness import PROGRAM
from harness.commands.arguments import add_runs, command_of, seconds
from harness.history.rundir import RunDir
from harness.rig import rig


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.description = (
        "The rig is a virtual machine with the kernel's own VFIO and mdev sample devices, on "
        "this machine's root file system.  `make rig` builds it."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    command = commands.add_parser("run", help="run a command in the rig, and pass its status on")
    command.usage = f"{PROGRAM} rig run [options] -- COMMAND ARGS..."
    command.description = (
        "Boots the rig, runs COMMAND in it with this terminal's output, and exits with its status."
    )
    command.add_argument("--qemu", default="", metavar="NAME|PATH",
                         help="QEMU that runs the rig itself")  # fmt: skip
    command.add_argument("--writable", action="append", default=[], type=Path, metavar="DIR",
                         help="directory that the command may write to, besides that of --runs "
                         "(repeatable)")  # fmt: skip
    command.add_argument("--timeout", type=seconds, default=600.0, metavar="SECONDS",
                         help="time limit of boot and command (default: 600)")  # fmt: skip
    add_runs(command)
    command.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND ARGS...",
                         help="command line to run")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Run it; the exit status.

    The rig keeps its console log in a directory of its own in ``--runs``.  Raises what
    ``rig.run`` raises.
    """
    argv = command_of(options, "rig run: no command: vfio-multifd rig run -- COMMAND ARGS...")
    folder = RunDir.create(options.runs, "rig").path
    try:
        return rig.run(
            argv,
            folder,
            on_stdout=rig.passed_on(sys.stdout.buffer),
            on_stderr=rig.passed_on(sys.stderr.buffer),
            qemu=options.qemu,
            writable=(options.runs, *options.writable),
            deadline_s=options.timeout,
        )
    finally:
        with contextlib.suppress(OSError):  # it is not empty: evidence
            folder.rmdir()
