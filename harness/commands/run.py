"""``vfio-multifd run``: run the main job, or scenarios, and judge them."""

import argparse
from pathlib import Path

from harness.commands import device_argument
from harness.commands.arguments import add_job, add_qemus, count, faults, size
from harness.commands.output import complain
from harness.job import job
from harness.job.processors import runs_at_once
from harness.job.runs import RunOptions
from harness.job.settings import Settings, scenarios
from harness.rig import scenarios as in_rig


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.description = (
        "Runs each SCENARIO and judges it.  Without one it runs the main job, a series of "
        "scenarios that covers every requirement that applies to the QEMU version; or, with "
        "--channels, --device, --devices, --size, --qemu-arg or --guest, one plain scenario with "
        "these settings.  Run directories are private to you; reports are written with your "
        "umask.  Scenarios with transport tcp, two of the main job among them, listen on loopback, "
        "where every user of the machine can connect."
    )
    parser.add_argument("scenario", nargs="*", type=Path, metavar="SCENARIO.json",
                        help="scenario, or a run directory that contains one")  # fmt: skip
    add_qemus(parser)
    parser.add_argument("--channels", type=int, metavar="N", help="number of multifd channels")
    parser.add_argument("--device", action="append", default=[], metavar="KIND",
                        help=f"device to attach: {device_argument.FORMS}; mdev devices run in the "
                        "rig VM if the host has none (repeatable)")  # fmt: skip
    parser.add_argument("--devices", type=int, metavar="N",
                        help="number of devices; extra ones copy the last")  # fmt: skip
    parser.add_argument("--size", type=size, metavar="BYTES",
                        help="state size of each device, like 16M")  # fmt: skip
    parser.add_argument("--guest", action="store_true",
                        help="boot a guest that checks its own memory and BARs during migration "
                        "(`make guest` builds it)")  # fmt: skip
    parser.add_argument("--qemu-arg", action="append", default=[], metavar="ARG",
                        help="argument for both QEMUs in front of the devices, like "
                        "--qemu-arg=-device --qemu-arg=virtio-rng-pci (repeatable)")  # fmt: skip
    parser.add_argument("--seed", type=int, metavar="N",
                        help="seed of device states and faults")  # fmt: skip
    parser.add_argument("--capture", action="store_true",
                        help="keep the stream of each source in its run directory, for "
                        "`replay`")  # fmt: skip
    parser.add_argument("--remove-valid", action="store_true",
                        help="delete the run directories of valid runs at the end "
                        "(for CI)")  # fmt: skip
    parser.add_argument("--baseline", type=Path, metavar="DIR",
                        help="saved runs to compare with; the exit status is then that of "
                        "`compare`")  # fmt: skip
    parser.add_argument("-j", "--jobs", type=count, metavar="N",
                        help="number of scenarios to run at the same time (default: two for "
                        "each processor, one with a guest or a device of the kernel); the output "
                        "keeps their order")  # fmt: skip
    parser.add_argument("-x", "--exitfirst", action="store_true",
                        help="end after the first run that is violated or lost")  # fmt: skip
    add_job(parser)


def run(options: argparse.Namespace) -> int:
    """Run it; the exit status."""
    settings = Settings(
        qemu=options.qemu,
        qemu_dst=options.qemu_dst,
        channels=options.channels,
        kinds=device_argument.parse(options.device),
        devices=options.devices,
        size=options.size,
        seed=options.seed,
        guest=options.guest,
        qemu_args=tuple(options.qemu_arg),
        faults=faults(options.fault),
    )
    wanted = scenarios(options.scenario, settings, options.trace_events)
    if in_rig.is_needed(wanted):
        folders = [path.absolute().parent for path in options.report]
        return in_rig.run(wanted, options.runs, _of_the_job(options), writable=folders)
    how = RunOptions(
        runs_dir=options.runs,
        jobs=options.jobs or runs_at_once(wanted),
        exit_first=options.exitfirst,
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


def _of_the_job(options: argparse.Namespace) -> list[str]:
    """The options that are not part of the scenarios."""
    words = ["--trace-events", options.trace_events] if options.trace_events else []
    for is_given, word in (
        (options.capture, "--capture"),
        (options.remove_valid, "--remove-valid"),
        (not options.progress, "--no-progress"),
        (options.steps, "--steps"),
        (options.json, "--json"),
        (options.exitfirst, "--exitfirst"),
    ):
        words += [word] if is_given else []
    words += ["--jobs", str(options.jobs)] if options.jobs else []
    return words + [word for path in options.report for word in ("--report", str(path))]
