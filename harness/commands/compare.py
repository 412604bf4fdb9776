"""``vfio-multifd compare``: compare saved runs of two builds, or two benchmarks."""

import argparse
import sys
from pathlib import Path

from harness.commands.arguments import add_json
from harness.commands.output import complain
from harness.errors import HistoryError
from harness.job import saved
from harness.measure import benchmark
from harness.report import benchmark_text, comparison, comparison_text, json_report


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.description = (
        "Judges the saved runs BEFORE and AFTER by today's rules, matches them by scenario, and "
        "reports what changed: verdicts by requirement, downtime and its parts, throughput, "
        "spread over channels, memory.  Measurements are reported, not judged.  Needs no QEMU.  "
        "Exit status: 0 no verdict got worse, 1 something is violated that was not, 2 something "
        "that was valid could not be judged, 3 a run was lost or nothing can be compared.  "
        "BEFORE and AFTER may also be two files of `ci/bench.py --json`: each row is compared, "
        "and the exit status is 0."
    )
    for name in ("before", "after"):
        parser.add_argument(name, type=Path, metavar=name.upper(),
                            help="run directory, folder of them, or a benchmark")  # fmt: skip
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Run it; the exit status.

    :raise UsageError: there is no run
    :raise HistoryError: no scenario, or no row of a benchmark, is on both sides
    """
    if options.before.is_file() and options.after.is_file():
        return _benchmarks(options.before, options.after, is_json=options.json)
    before, after = (saved.saved(path, complain) for path in (options.before, options.after))
    if not any(each.error for each in (*before, *after)):
        comparison.require_common([each.name for each in before], [each.name for each in after])
    found = comparison.compare(before, after)
    if options.json:
        sys.stdout.write(json_report.compared(found).decode())
    else:
        sys.stdout.writelines(f"{line}\n" for line in comparison_text.lines(found))
    return found.exit_status


def _benchmarks(path: Path, other: Path, *, is_json: bool) -> int:
    before, after = benchmark.load(path), benchmark.load(other)
    found = list(benchmark.differences(before, after))
    if not found:
        raise HistoryError(f"{path} and {other}: no row was measured in both")
    if is_json:
        sys.stdout.write(benchmark_text.document(before, after, found).decode())
    else:
        lines = benchmark_text.compared(before, after, found)
        sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0
