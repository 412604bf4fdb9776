"""``vfio-multifd check``: check whether scenarios can be run; migrate nothing."""

import argparse
from pathlib import Path

from harness import scenario
from harness.commands.arguments import add_qemus, add_trace_events
from harness.commands.output import say
from harness.errors import USAGE, PrerequisiteMissing, UsageError, in_words
from harness.history import rundir
from harness.job import scenario_checks
from harness.job.settings import Settings, with_builds
from harness.model import settings as known
from harness.vm import fits


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.description = (
        "Prints one line for each SCENARIO: ok, or everything that is wrong with it; and what "
        "keeps a run of it from being judged.  Nothing is migrated; the builds are asked for their "
        "machine types, trace events and QMP events.  "
        "Exit status: 0 all can be run, 4 one cannot."
    )
    parser.add_argument("scenario", nargs="+", type=Path, metavar="SCENARIO.json",
                        help="scenario, or a run directory that contains one")  # fmt: skip
    add_qemus(parser)
    add_trace_events(parser)


def run(options: argparse.Namespace) -> int:
    """Run it; the exit status."""
    status = 0
    for path in options.scenario:
        try:
            words, is_right = _words(path, options)
        except OSError as error:  # a name that is too long; the others are still checked
            words, is_right = error.strerror or in_words(error), False
        say(f"{path}: {' '.join(words.split())}")
        status = status if is_right else USAGE
    return status


def _words(path: Path, options: argparse.Namespace) -> tuple[str, bool]:
    """What is wrong with the scenario at ``path``, or ok, and whether it can be run."""
    file = path / rundir.SCENARIO if path.is_dir() else path
    try:
        wanted = scenario.load(file)
    except UsageError as error:
        return str(error).removeprefix(f"{path}: "), False
    found = list(scenario_checks.problems(wanted))
    not_asked = ""
    try:
        settings = Settings(qemu=options.qemu, qemu_dst=options.qemu_dst)
        found += fits.problems(with_builds(wanted, settings), options.trace_events)
    except PrerequisiteMissing as error:
        not_asked = f"; what depends on the build was not checked: {error}"
    unknown = [f"the model does not know {each}" for each in known.unknown(wanted)]
    ok = f"ok, but a run will be UNKNOWN: {'; '.join(unknown)}" if unknown else "ok"
    return ("; ".join(found) or ok) + not_asked, not found
