"""The command that says whether scenarios can be run: check."""

import argparse
from pathlib import Path

from harness.commands.arguments import Commands, add_qemus, add_trace_events
from harness.commands.output import say
from harness.errors import USAGE, PrerequisiteMissing, UsageError, in_words


def add(commands: Commands) -> None:
    """Add it."""
    parser = commands.add_parser("check", help="say whether scenarios can be run")
    parser.set_defaults(call=_check)
    parser.description = (
        "Prints one line for each SCENARIO: ok, or all that is wrong with it.  Nothing is "
        "migrated; the builds are asked for their machine types, trace events and QMP events.  "
        "Exit status: 0 all can be run, 4 one cannot."
    )
    parser.add_argument("scenario", nargs="+", type=Path, metavar="SCENARIO.json",
                        help="a scenario, or a run directory that has one")  # fmt: skip
    add_qemus(parser)
    add_trace_events(parser)


def _check(options: argparse.Namespace) -> int:
    status = 0
    for path in options.scenario:
        try:
            words, is_right = _words(path, options)
        except OSError as error:  # a name that is too long; the others are checked all the same
            words, is_right = error.strerror or in_words(error), False
        say(f"{path}: {' '.join(words.split())}")
        status = status if is_right else USAGE
    return status


def _words(path: Path, options: argparse.Namespace) -> tuple[str, bool]:
    """What is to be said of the scenario at ``path``, and whether it can be run."""
    from harness import scenario  # noqa: PLC0415
    from harness.history import rundir  # noqa: PLC0415
    from harness.job import job, scenario_checks  # noqa: PLC0415
    from harness.vm import fits  # noqa: PLC0415

    file = path / rundir.SCENARIO if path.is_dir() else path
    try:
        wanted = scenario.load(file)
    except UsageError as error:
        return str(error).removeprefix(f"{path}: "), False
    found = list(scenario_checks.problems(wanted))
    not_asked = ""
    try:
        settings = job.Settings(qemu=options.qemu, qemu_dst=options.qemu_dst)
        found += fits.problems(job.with_builds(wanted, settings), options.trace_events)
    except PrerequisiteMissing as error:
        not_asked = f"; what depends on the build was not checked: {error}"
    return ("; ".join(found) or "ok") + not_asked, not found
