"""Commands about this machine and the rig: rig, doctor."""

import argparse
from pathlib import Path

from harness.commands.arguments import (
    RUNS,
    Commands,
    add_json,
    command_of,
    seconds,
)
from harness.report.summary import PROGRAM


def add(commands: Commands) -> None:
    """Add them."""
    _add_rig(commands.add_parser("rig", help="a virtual machine with the kernel's own VFIO"))
    _add_doctor(commands.add_parser("doctor", help="tell whether this machine can run the job"))


def _add_rig(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "A virtual machine with the kernel's own VFIO and mdev sample devices, on this "
        "machine's files.  `make rig` builds it."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    run = commands.add_parser("run", help="run a command in it, and pass its status on")
    run.set_defaults(call=_rig_run)
    run.usage = f"{PROGRAM} rig run [options] -- COMMAND ARGS..."
    run.add_argument("--qemu", default="", metavar="NAME|PATH", help="runs the rig itself")
    run.add_argument("--writable", action="append", default=[], type=Path, metavar="DIR",
                     help="what the command may write to, beside the run directories")  # fmt: skip
    run.add_argument("--timeout", type=seconds, default=600.0, metavar="SECONDS",
                     help="of the command, with the boot (default: 600)")  # fmt: skip
    run.add_argument("--runs", type=Path, default=RUNS, metavar="DIR",
                     help="where run directories go (default: runs/)")  # fmt: skip
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND ARGS...")


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_doctor)
    parser.description = "Tells what this machine lacks to run the main job, and how to mend it."
    parser.add_argument("--qemu", action="append", default=[], metavar="NAME|PATH",
                        help="a QEMU to look at; may be given again")  # fmt: skip
    parser.add_argument("--runs", type=Path, default=RUNS, metavar="DIR",
                        help="where run directories would go (default: runs/)")  # fmt: skip
    add_json(parser)


def _doctor(options: argparse.Namespace) -> int:
    from harness.doctor import examination  # noqa: PLC0415

    return examination.report(options.qemu, options.runs, is_json=options.json)


def _rig_run(options: argparse.Namespace) -> int:
    from harness.rig import by_command  # noqa: PLC0415

    argv = command_of(options, "rig run: no command: vfio-multifd rig run -- COMMAND ARGS...")
    return by_command.run(
        argv,
        options.runs,
        qemu=options.qemu,
        writable=options.writable,
        deadline_s=options.timeout,
    )
