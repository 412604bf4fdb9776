"""The command ``vfio-multifd``: reads the command line, calls, prints, and exits.

Exit statuses: 0 valid, 1 violated, 2 unknown, 3 the harness or a machine was lost (one
line on standard error), 130 interrupted, 143 terminated.
"""

import argparse
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import harness
from harness.errors import HarnessError, UsageError
from harness.history import Side
from harness.report.summary import INTERRUPTED, LOST, PROGRAM

_SIZE = re.compile(r"(\d+) ?([KMGT]?)(?:i?B)?", re.IGNORECASE)
TERMINATED = 143
_RUNS = Path("runs")


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

            sys.stdout.write(json_report.failure(str(error)).decode())
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


def _say(line: str) -> None:
    """One line on standard output, seen at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def complain(words: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"{PROGRAM}: error: {' '.join(words.split())}\n")
    sys.stderr.flush()


# -- subcommands; each imports what it needs, so that none pays for the others -----------


def _run(options: argparse.Namespace) -> int:
    from harness import job  # noqa: PLC0415

    return job.run(
        job.scenarios(
            options.scenario,
            job.Settings(
                qemu=options.qemu,
                qemu_dst=options.qemu_dst,
                channels=options.channels,
                devices=options.devices,
                size=options.size,
                seed=options.seed,
                faults=job.faults(options.fault),
            ),
            options.trace_events,
        ),
        options.runs,
        trace_events=options.trace_events,
        is_json=options.json,
        has_progress=options.progress,
        has_steps=options.steps,
        has_capture=options.capture,
        reports=options.report,
        complain=complain,
    )


def _replay(options: argparse.Namespace) -> int:
    from harness import job  # noqa: PLC0415

    return job.replay(
        options.capture,
        job.Settings(qemu=options.qemu, faults=job.faults(options.fault)),
        options.runs,
        trace_events=options.trace_events,
        is_json=options.json,
        has_progress=options.progress,
        has_steps=options.steps,
        reports=options.report,
        complain=complain,
    )


def _show(options: argparse.Namespace) -> int:
    from harness import contents  # noqa: PLC0415

    sys.stdout.writelines(f"{line}\n" for line in contents.lines(options.capture))
    return 0


def _repro(options: argparse.Namespace) -> int:
    from harness import job, repro  # noqa: PLC0415

    settings = job.Settings(qemu=options.qemu, qemu_dst=options.qemu_dst)
    return repro.repro(options.name, settings, options.runs, options.trace_events, _say)


def _recheck(options: argparse.Namespace) -> int:
    from harness import job  # noqa: PLC0415

    return job.recheck(options.dir, is_json=options.json, complain=complain, reports=options.report)


def _export(options: argparse.Namespace) -> int:
    from harness.history import rundir  # noqa: PLC0415
    from harness.report import perfetto  # noqa: PLC0415

    try:
        options.output.write_bytes(perfetto.render(rundir.load(options.run)))
    except OSError as error:
        raise UsageError(f"{options.output}: cannot write: {error.strerror}") from error
    return 0


def _rig_run(options: argparse.Namespace) -> int:
    from harness.rig import by_command  # noqa: PLC0415

    argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    if not argv:
        raise UsageError("rig run: no command: vfio-multifd rig run -- COMMAND ARGS...")
    return by_command.run(
        argv,
        options.runs,
        qemu=options.qemu,
        writable=options.writable,
        deadline_s=options.timeout,
    )


def _doctor(options: argparse.Namespace) -> int:
    from harness.doctor import examination  # noqa: PLC0415

    return examination.report(options.qemu, options.runs, is_json=options.json)


def _serve(options: argparse.Namespace) -> int:
    from harness import by_hand, scenario  # noqa: PLC0415

    argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    if not argv:
        raise UsageError(f"serve: no QEMU to run: vfio-multifd serve ... -- QEMU {by_hand.DEVICES}")
    return by_hand.serve(scenario.load(options.scenario), Side(options.side), argv, sys.stderr)


def _relay(options: argparse.Namespace) -> int:
    from harness import by_relay, job, scenario  # noqa: PLC0415
    from harness.session.link import idstrs_of  # noqa: PLC0415

    wanted = scenario.load(options.scenario) if options.scenario else None
    return by_relay.serve(
        by_relay.address(options.listen),
        by_relay.address(options.to),
        job.faults(options.fault) or (wanted.faults if wanted else ()),
        wanted.seed if wanted else options.seed,
        idstrs_of(wanted) if wanted else {},
        sys.stdout,
    )


def _qmp(options: argparse.Namespace) -> int:
    from harness import by_hand  # noqa: PLC0415

    return by_hand.converse(options.socket, sys.stdin, options.until, options.timeout)


# -- the command line --------------------------------------------------------------------


def _size(text: str) -> int:
    """Bytes, as in 4096, 16M, 1GiB."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 4096, 16M or 1G")
    return int(match[1]) << 10 * " KMGT".index(match[2].upper() or " ")


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
    _add_run(commands.add_parser("run", help="run scenarios, or the main job, and judge them"))
    _add_replay(commands.add_parser("replay", help="give a destination what a capture holds"))
    _add_show(commands.add_parser("show", help="tell what a capture holds"))
    _add_repro(commands.add_parser("repro", help="show a finding in QEMU again"))
    _add_recheck(commands.add_parser("recheck", help="judge saved runs again"))
    _add_export(commands.add_parser("export", help="a run as a trace for ui.perfetto.dev"))
    _add_rig(commands.add_parser("rig", help="a virtual machine with the kernel's own VFIO"))
    _add_doctor(commands.add_parser("doctor", help="tell whether this machine can run the job"))
    _add_serve(commands.add_parser("serve", help="run a QEMU by hand, with emulated devices"))
    _add_relay(commands.add_parser("relay", help="stand between two QEMUs run by hand"))
    _add_qmp(commands.add_parser("qmp", help="send QMP commands to a QEMU run by hand"))
    return parser


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--report", action="append", default=[], type=Path, metavar="FILE",
                        help="write the report there too, and may be given again: "
                        ".html, .json, .tap, .xml (JUnit)")  # fmt: skip


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_run)
    parser.description = (
        "Runs each SCENARIO and judges it.  Without one: the main job, a series of scenarios "
        "that ask about every requirement; or, with --channels, --devices or --size, one "
        "plain scenario with these."
    )
    parser.add_argument("scenario", nargs="*", type=Path, metavar="SCENARIO.json",
                        help="a scenario, or a run directory that has one")  # fmt: skip
    parser.add_argument("--qemu", default="", metavar="PATH", help="the source's QEMU")
    parser.add_argument("--qemu-dst", default="", metavar="PATH",
                        help="the destination's QEMU (default: as the source's)")  # fmt: skip
    parser.add_argument("--channels", type=int, metavar="N", help="multifd channels")
    parser.add_argument("--devices", type=int, metavar="N", help="devices")
    parser.add_argument("--size", type=_size, metavar="BYTES",
                        help="state of each device, like 16M")  # fmt: skip
    parser.add_argument("--seed", type=int, metavar="N", help="of states and faults")
    parser.add_argument("--capture", action="store_true",
                        help="keep what each source sends in its run directory")  # fmt: skip
    _add_how_to_run(parser)


def _add_replay(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_replay)
    parser.description = (
        "Starts a destination only and gives it what a source sent when it was captured "
        "(run --capture), in the order and with the faults that are wanted, and judges that."
    )
    parser.add_argument("capture", type=Path, metavar="CAPTURE",
                        help="migration.capture of a run directory")  # fmt: skip
    parser.add_argument("--qemu", default="", metavar="PATH", help="the destination's QEMU")
    _add_how_to_run(parser)


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_show)
    parser.description = "Tells the sections of the main channel and the packets of the others."
    parser.add_argument("capture", type=Path, metavar="CAPTURE",
                        help="migration.capture of a run directory")  # fmt: skip


def _add_repro(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_repro)
    parser.description = (
        "Runs the scenario of each finding NAME and checks that it shows that finding, and no "
        "other failure.  Exit status: 0 shown, 1 not shown, 2 not of this QEMU's version, "
        "3 lost."
    )
    parser.add_argument("name", nargs="*", metavar="NAME", help="default: all that are known")
    parser.add_argument("--qemu", default="", metavar="PATH", help="the source's QEMU")
    parser.add_argument("--qemu-dst", default="", metavar="PATH",
                        help="the destination's QEMU (default: as the source's)")  # fmt: skip
    _add_where(parser)


def _add_where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trace-events", default="", metavar="PATH",
                        help="trace-events-all (default: beside the binary)")  # fmt: skip
    parser.add_argument("--runs", type=Path, default=_RUNS, metavar="DIR",
                        help="where run directories go (default: runs/)")  # fmt: skip


def _add_fault(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fault", action="append", default=[], metavar="JSON",
                        help="done to packets on their way, and may be given again; like "
                        """'{"fault": "drop", "select": {"idx": [3]}}'""")  # fmt: skip


def _add_how_to_run(parser: argparse.ArgumentParser) -> None:
    _add_fault(parser)
    _add_where(parser)
    parser.add_argument("--no-progress", dest="progress", action="store_false",
                        help="print only the report at the end")  # fmt: skip
    parser.add_argument("--steps", action="store_true",
                        help="print each step of each run, for the log of a hang")  # fmt: skip
    _add_report(parser)
    _add_json(parser)


def _add_recheck(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_recheck)
    parser.description = "Judges saved runs again, by today's rules.  Needs no QEMU."
    parser.add_argument("dir", nargs="+", type=Path, metavar="DIR",
                        help="a run directory, or a folder of them")  # fmt: skip
    _add_report(parser)
    _add_json(parser)


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_export)
    parser.description = "Writes a run's history as a trace that ui.perfetto.dev opens."
    parser.add_argument("run", type=Path, metavar="DIR", help="a run directory")
    parser.add_argument("--output", "-o", type=Path, required=True, metavar="FILE")


def _add_rig(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "A virtual machine with the kernel's own VFIO and mdev sample devices, on this "
        "machine's files.  `make rig` builds it."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    run = commands.add_parser("run", help="run a command in it, and pass its status on")
    run.set_defaults(call=_rig_run)
    run.usage = f"{PROGRAM} rig run [options] -- COMMAND ARGS..."
    run.add_argument("--qemu", default="", metavar="PATH", help="runs the rig itself")
    run.add_argument("--writable", action="append", default=[], type=Path, metavar="DIR",
                     help="what the command may write to, beside the run directories")  # fmt: skip
    run.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS",
                     help="of the command, with the boot (default: 600)")  # fmt: skip
    run.add_argument("--runs", type=Path, default=_RUNS, metavar="DIR",
                     help="where run directories go (default: runs/)")  # fmt: skip
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND ARGS...")


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_doctor)
    parser.description = "Tells what this machine lacks to run the main job, and how to mend it."
    parser.add_argument("--qemu", action="append", default=[], metavar="PATH",
                        help="a QEMU to look at; may be given again")  # fmt: skip
    parser.add_argument("--runs", type=Path, default=_RUNS, metavar="DIR",
                        help="where run directories would go (default: runs/)")  # fmt: skip
    _add_json(parser)


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_serve)
    parser.usage = f"{PROGRAM} serve --scenario FILE --side SIDE -- QEMU ARGS... @devices@ ..."
    parser.description = (
        "Runs a QEMU command line in the foreground with the scenario's devices in the place "
        "of @devices@; tells at its end what they did."
    )
    parser.add_argument("--scenario", type=Path, required=True, metavar="FILE")
    parser.add_argument("--side", choices=[Side.SOURCE, Side.DESTINATION], required=True)
    parser.add_argument("argv", nargs=argparse.REMAINDER, metavar="QEMU ARGS...")


def _add_relay(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_relay)
    parser.description = (
        "Stands between any two QEMUs, also of two machines with real devices: the source "
        "migrates to --listen, the destination listens at --to.  Tells all that it sees and "
        "does, a line of JSON each, until it is interrupted.  Addresses: tcp:HOST:PORT, or "
        "unix:@NAME for an abstract socket."
    )
    parser.add_argument("--listen", required=True, metavar="ADDRESS")
    parser.add_argument("--to", required=True, metavar="ADDRESS")
    parser.add_argument("--scenario", type=Path, metavar="FILE",
                        help="take faults, seed and devices' ids from it")  # fmt: skip
    _add_fault(parser)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of faults")


def _add_qmp(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_qmp)
    parser.description = (
        "Sends QMP commands, one a line of standard input: JSON, or a name alone.  Prints "
        "replies and events.  Exit status 1: a command was refused."
    )
    parser.add_argument("socket", type=Path, metavar="SOCKET", help="of -qmp unix:SOCKET,server=on")
    parser.add_argument("--until", action="append", default=[], metavar="EVENT[=STATUS]",
                        help="then wait for this event; given again: for any")  # fmt: skip
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS",
                        help="of each command and of the wait (default: 60)")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
