"""Commands that make runs or judge them: run, replay, repro, recheck."""

import argparse
from pathlib import Path

from harness.commands import device_argument
from harness.commands.arguments import (
    Commands,
    add_how_to_run,
    add_json,
    add_qemus,
    add_report,
    add_where,
    faults,
    size,
)
from harness.commands.output import complain, say


def add(commands: Commands) -> None:
    """Add them."""
    _add_run(commands.add_parser("run", help="run scenarios, or the main job, and judge them"))
    _add_replay(commands.add_parser("replay", help="give a destination what a capture holds"))
    _add_repro(commands.add_parser("repro", help="show a finding in QEMU again"))
    _add_recheck(commands.add_parser("recheck", help="judge saved runs again"))


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_run)
    parser.description = (
        "Runs each SCENARIO and judges it.  Without one: the main job, a series of scenarios "
        "that ask about every requirement; or, with --channels, --device, --devices, --size or "
        "--guest, one plain scenario with these.  What it makes is private; a report is written "
        "with your umask.  Scenarios with transport tcp, two of the main job among them, listen "
        "on loopback, where every user of the machine can connect."
    )
    parser.add_argument("scenario", nargs="*", type=Path, metavar="SCENARIO.json",
                        help="a scenario, or a run directory that has one")  # fmt: skip
    add_qemus(parser)
    parser.add_argument("--channels", type=int, metavar="N", help="multifd channels")
    parser.add_argument("--device", action="append", default=[], metavar="KIND",
                        help=f"a device, and may be given again: {device_argument.FORMS}; one of "
                        "the kernel boots the rig where this machine has none")  # fmt: skip
    parser.add_argument("--devices", type=int, metavar="N",
                        help="so many: the last one again and again")  # fmt: skip
    parser.add_argument("--size", type=size, metavar="BYTES",
                        help="state of each device, like 16M")  # fmt: skip
    parser.add_argument("--guest", action="store_true",
                        help="a guest runs and says whether it is whole (make guest)")  # fmt: skip
    parser.add_argument("--seed", type=int, metavar="N", help="of states and faults")
    parser.add_argument("--capture", action="store_true",
                        help="keep what each source sends in its run directory")  # fmt: skip
    parser.add_argument("--remove-valid", action="store_true",
                        help="remove the directories of valid runs when all is reported, "
                        "as a CI does that keeps what went wrong")  # fmt: skip
    parser.add_argument("--baseline", type=Path, metavar="DIR",
                        help="saved runs to compare with; the exit status is compare's: "
                        "about what got worse")  # fmt: skip
    add_how_to_run(parser)


def _add_replay(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_replay)
    parser.description = (
        "Starts a destination only and gives it what a source sent when it was captured "
        "(run --capture), in the order and with the faults that are wanted, and judges that."
    )
    parser.add_argument("capture", type=Path, metavar="CAPTURE",
                        help="migration.capture of a run directory")  # fmt: skip
    parser.add_argument("--qemu", default="", metavar="NAME|PATH", help="the destination's QEMU")
    add_how_to_run(parser)


def _add_repro(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_repro)
    parser.description = (
        "Runs the scenario of each finding NAME and checks that it shows that finding, and no "
        "other failure.  Exit status: 0 shown, 1 not shown, 2 not of this QEMU's version, "
        "3 lost."
    )
    parser.add_argument("name", nargs="*", metavar="NAME", help="default: all that are known")
    add_qemus(parser)
    add_where(parser)


def _add_recheck(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_recheck)
    parser.description = "Judges saved runs again, by today's rules.  Needs no QEMU."
    parser.add_argument("dir", nargs="+", type=Path, metavar="DIR",
                        help="a run directory, or a folder of them")  # fmt: skip
    add_report(parser)
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    from harness import in_rig  # noqa: PLC0415
    from harness.job import job  # noqa: PLC0415

    settings = job.Settings(
        qemu=options.qemu,
        qemu_dst=options.qemu_dst,
        channels=options.channels,
        kinds=device_argument.parse(options.device),
        devices=options.devices,
        size=options.size,
        seed=options.seed,
        guest=options.guest,
        faults=faults(options.fault),
    )
    wanted = job.scenarios(options.scenario, settings, options.trace_events)
    if in_rig.is_needed(wanted):
        folders = [path.absolute().parent for path in options.report]
        return in_rig.run(wanted, options.runs, _again(options), writable=folders)
    how = job.RunOptions(
        runs_dir=options.runs,
        trace_events=options.trace_events,
        has_capture=options.capture,
        has_progress=options.progress,
        has_steps=options.steps,
        is_json=options.json,
        reports=options.report,
        remove_valid=options.remove_valid,
        baseline=options.baseline,
        may_leave_out=not options.scenario and not settings.has_shape,
    )
    return job.run(wanted, how, complain=complain)


def _again(options: argparse.Namespace) -> list[str]:
    """The options of ``run`` that do not stand in the scenarios."""
    words = ["--trace-events", options.trace_events] if options.trace_events else []
    for is_given, word in (
        (options.capture, "--capture"),
        (options.remove_valid, "--remove-valid"),
        (not options.progress, "--no-progress"),
        (options.steps, "--steps"),
        (options.json, "--json"),
    ):
        words += [word] if is_given else []
    return words + [word for path in options.report for word in ("--report", str(path))]


def _replay(options: argparse.Namespace) -> int:
    from harness.job import job  # noqa: PLC0415

    how = job.RunOptions(
        runs_dir=options.runs,
        trace_events=options.trace_events,
        has_progress=options.progress,
        has_steps=options.steps,
        is_json=options.json,
        reports=options.report,
    )
    settings = job.Settings(qemu=options.qemu, faults=faults(options.fault))
    return job.replay(options.capture, settings, how, complain=complain)


def _repro(options: argparse.Namespace) -> int:
    from harness.job import job, repro  # noqa: PLC0415

    settings = job.Settings(qemu=options.qemu, qemu_dst=options.qemu_dst)
    return repro.repro(options.name, settings, options.runs, options.trace_events, say)


def _recheck(options: argparse.Namespace) -> int:
    from harness.job import job  # noqa: PLC0415

    return job.recheck(options.dir, is_json=options.json, complain=complain, reports=options.report)
