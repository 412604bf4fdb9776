"""``vfio-multifd measure``: measure downtime, series against series."""

import argparse
import sys
from pathlib import Path

from harness import scenario
from harness.commands.arguments import (
    add_json,
    add_no_progress,
    add_qemus,
    add_runs,
    add_trace_events,
    size,
)
from harness.commands.output import complain, say
from harness.job import job, measure
from harness.report import measurement_text


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.description = (
        "Runs several series in turn, at least 20 runs of each, and reports for each the median, "
        "quartiles and a confidence interval of downtime and its parts, throughput, memory, and "
        "whether it differs from the first series.  Runs that fail are counted and left out.  "
        "Exit status: 0 measured, 1 a run was violated, 2 too few runs count, 3 a run was lost."
    )
    parser.epilog = (
        "Examples: measure transfer=off transfer=on; measure channels=1 channels=4 channels=16; "
        "measure devices=1 devices=2 devices=4 --size 64M; measure qemu=/old/qemu qemu=/new/qemu "
        "--channels 8; measure channels=4,transfer=on channels=1,transfer=off"
    )
    parser.add_argument("series", nargs="*", metavar="KEY=VALUE,...",
                        help="settings of a series: transfer (on, off, auto), channels, devices, "
                        "size, trace (on, off), qemu, qemu-dst, scenario (a file); "
                        "default: transfer=off transfer=on")  # fmt: skip
    parser.add_argument("--rounds", type=int, metavar="N",
                        help="runs of each series (default: 25, at least 20)")  # fmt: skip
    parser.add_argument("--scenario", type=Path, metavar="FILE",
                        help="scenario of all series "
                        "(default: one device of 16 MiB, 4 channels)")  # fmt: skip
    add_qemus(parser)
    parser.add_argument("--channels", type=int, metavar="N", help="multifd channels of all series")
    parser.add_argument("--devices", type=int, metavar="N", help="devices of all series")
    parser.add_argument("--size", type=size, metavar="BYTES",
                        help="state size of each device, like 64M")  # fmt: skip
    add_trace_events(parser)
    add_runs(parser)
    add_no_progress(parser, "a line when a round ends")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Run it; the exit status."""
    rounds = measure.ROUNDS if options.rounds is None else options.rounds
    measure.check_rounds(rounds)
    settings = job.Settings(
        qemu=options.qemu,
        qemu_dst=options.qemu_dst,
        channels=options.channels,
        devices=options.devices,
        size=options.size,
    )
    base = scenario.load(options.scenario) if options.scenario else scenario.Scenario(name="plain")
    wanted = measure.wanted(options.series or measure.DEFAULT, settings, base)
    is_quiet = options.json or not options.progress
    found = measure.measure(
        wanted,
        options.runs,
        rounds,
        trace_events=options.trace_events,
        say=(lambda _line: None) if is_quiet else say,
    )
    for reason in {run.left_out for one in found.series for run in one.runs if run.left_out}:
        complain(f"left out of a series: {reason}")
    if options.json:
        sys.stdout.write(measurement_text.document(found).decode())
    else:
        sys.stdout.writelines(f"{line}\n" for line in measurement_text.lines(found))
    return found.exit_status
