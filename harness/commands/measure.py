"""``vfio-multifd measure``: measure downtime, and compare series.

Each **round** runs every series once and begins with another one than the round before, so
that other load on the machine affects all of them alike.  The first round does not count: it
loads binaries and libraries into memory.
"""

import argparse
import os
import platform
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from harness import interrupt, scenario
from harness.check.verdict import Outcome
from harness.commands.arguments import (
    add_json,
    add_no_progress,
    add_qemus,
    add_runs,
    add_trace_events,
    size,
)
from harness.commands.output import complain
from harness.commands.output import say as print_line
from harness.errors import HarnessError, UsageError
from harness.history.rundir import RunDir
from harness.job.run import Run, run_in
from harness.job.settings import Settings, applied, with_builds
from harness.measure.measured import measured
from harness.measure.measurement import Measurement, Sample, Series
from harness.measure.statistics import FEWEST
from harness.report import measurement_text
from harness.report.format import build_text
from harness.scenario import OnOffAuto, Scenario
from harness.scenario.sizes import size_of
from harness.vm import builds, fits

DEFAULT = ("transfer=off", "transfer=on")
ROUNDS = 25
"""More than ``FEWEST``, so that some may fail."""

Say = Callable[[str], None]

_KEYS = ("scenario", "transfer", "channels", "devices", "size", "trace", "qemu", "qemu-dst")
_WORDS = {"transfer": ("on", "off", "auto"), "trace": ("on", "off")}
"""Keys whose values are words, and these."""


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
    rounds = ROUNDS if options.rounds is None else options.rounds
    check_rounds(rounds)
    settings = Settings(
        qemu=options.qemu,
        qemu_dst=options.qemu_dst,
        channels=options.channels,
        devices=options.devices,
        size=options.size,
    )
    base = scenario.load(options.scenario) if options.scenario else scenario.Scenario(name="plain")
    scenarios = wanted(options.series or DEFAULT, settings, base)
    is_quiet = options.json or not options.progress
    found = measure(
        scenarios,
        options.runs,
        rounds,
        trace_events=options.trace_events,
        say=(lambda _line: None) if is_quiet else print_line,
    )
    for reason in {run.left_out for one in found.series for run in one.runs if run.left_out}:
        complain(f"left out of a series: {reason}")
    if options.json:
        sys.stdout.write(measurement_text.document(found).decode())
    else:
        sys.stdout.writelines(f"{line}\n" for line in measurement_text.lines(found))
    return found.exit_status


def wanted(texts: Sequence[str], settings: Settings, base: Scenario) -> dict[str, Scenario]:
    """The scenario of each series, by its name: ``KEY=VALUE``, separated by commas.

    All get a machine type that the oldest and the newest build know (``builds.common_machine``).

    :param settings: of all series, unless a series has its own
    :param base: scenario of a series that names none

    :raise UsageError: a text is no series, or is given twice
    :raise PrerequisiteMissing: there is no such QEMU
    """
    if twice := [text for text in texts if texts.count(text) > 1]:
        raise UsageError(f"{twice[0]}: series given twice")
    found = {text: _series(text, settings, base) for text in texts}
    binaries = {Path(path) for each in found.values() for path in (each.qemu, each.qemu_dst)}
    first, *others = sorted(binaries, key=builds.version_of)
    return {
        name: msgspec.structs.replace(
            each,
            name=_slug(name),
            machine=builds.common_machine(each.machine, others[-1] if others else first, first),
        )
        for name, each in found.items()
    }


def _series(text: str, settings: Settings, base: Scenario) -> Scenario:
    given: dict[str, str] = {}
    for part in text.split(","):
        key, is_there, value = part.partition("=")
        if not is_there or key not in _KEYS or not value:
            raise UsageError(f"{text}: a series is KEY=VALUE,...; keys are {', '.join(_KEYS)}")
        given[key] = value
    original = scenario.load(Path(given["scenario"])) if "scenario" in given else base
    if original.then:
        raise UsageError(f"{text}: {original.name} has a second migration; measure takes one")
    for key, words in _WORDS.items():
        if key in given and given[key] not in words:
            raise UsageError(f"{text}: {key} is '{given[key]}', not one of {', '.join(words)}")
    fields: dict[str, Any] = {}
    for key in ("channels", "devices"):
        if key in given:
            fields[key] = _number(given[key], f"{text}: {key}")
    if "size" in given:
        try:
            fields["size"] = size_of(given["size"])
        except ValueError as error:
            raise UsageError(f"{text}: {error}") from error
    fields["qemu"] = given.get("qemu", settings.qemu)
    fields["qemu_dst"] = given.get("qemu-dst", "" if "qemu" in given else settings.qemu_dst)
    own = replace(settings, **fields)
    each = applied(original, own)
    if "transfer" in given:
        transfer = OnOffAuto(given["transfer"])
        devices = (msgspec.structs.replace(d, multifd_transfer=transfer) for d in each.devices)
        each = msgspec.structs.replace(each, devices=tuple(devices))
    if given.get("trace") == OnOffAuto.OFF:
        each = msgspec.structs.replace(each, trace=())
    return with_builds(each, own)


def _number(text: str, what: str) -> int:
    if re.fullmatch(r"-?[0-9]{1,30}", text) is None:
        raise UsageError(f"{what} is '{text}', not a number")
    return int(text)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", name.replace("/", "-")).strip("-")


def measure(
    scenarios: dict[str, Scenario],
    runs_dir: Path,
    rounds: int,
    *,
    trace_events: str = "",
    say: Say,
) -> Measurement:
    """Run all series; write measure.json and measure.svg into a new folder in ``runs_dir``.

    Ctrl-C ends it, and what was measured until then is kept.

    :param say: prints a line about each round

    :raise UsageError: a build does not know a name of a scenario
    :raise HarnessError: a first run of a series was lost, as the others would be
    """
    for each in scenarios.values():
        fits.require(each, trace_events)
    folder = RunDir.create(runs_dir, "measure").path
    names = list(scenarios)
    ends: dict[str, list[Sample]] = {name: [] for name in names}
    facts: dict[str, str] = {}
    load = os.getloadavg()[0]
    is_interrupted = False
    done = 0
    try:
        for number in range(rounds + 1):
            first = number % len(names)
            ended: dict[str, Sample] = {}
            for name in names[first:] + names[:first]:
                ended[name] = _run(scenarios[name], folder, trace_events, facts, name, number)
            text = measurement_text.round_text({name: ended[name] for name in names})
            say(f"round {number} of {rounds}: {text}" if number else f"not counted: {text}")
            if number:
                done = number
                for name in names:
                    ends[name].append(ended[name])
    except KeyboardInterrupt:
        is_interrupted = True
    found = Measurement(
        series=tuple(
            Series(
                name=name,
                scenario=scenarios[name],
                build=facts.get(name, ""),
                runs=tuple(ends[name]),
            )
            for name in names
        ),
        rounds=done,
        machine=_machine(),
        load=(load, os.getloadavg()[0]),
        path=str(folder),
        is_interrupted=is_interrupted,
    )
    (folder / "measure.json").write_bytes(measurement_text.document(found))
    from harness.report import plot  # noqa: PLC0415 - it needs jinja2

    (folder / "measure.svg").write_text(plot.render(found))
    return found


def _run(
    wanted: Scenario,
    folder: Path,
    trace_events: str,
    facts: dict[str, str],
    name: str,
    number: int,
) -> Sample:
    target = RunDir.create(folder, wanted.name)
    try:
        (made,) = interrupt.run(run_in([target], wanted, trace_events=trace_events))
    except HarnessError as error:
        if number == 0:
            raise
        return Sample(
            path=str(target.path), outcome="lost", left_out=f"lost: {error}", measured=None
        )
    manifest = made.history.manifest
    source, destination = build_text(manifest.source), build_text(manifest.destination)
    facts[name] = source if source == destination else f"{source}, to {destination}"
    numbers = measured(made.history)
    return Sample(
        path=str(target.path),
        outcome="known deviation" if made.known else str(made.verdict.overall),
        left_out=_left_out(made, numbers.downtime_ms),
        measured=numbers,
    )


def _left_out(made: Run, downtime_ms: float | None) -> str:
    """Why the run does not count; empty if it does."""
    if made.known is not None:
        return f"known deviation of {made.known.requirement}: {made.known.case}"
    if violated := made.verdict.with_outcome(Outcome.VIOLATED):
        return f"VIOLATED: {', '.join(violated)}"
    return "" if downtime_ms is not None else "the destination did not run the guest"


def _machine() -> str:
    count = os.cpu_count() or 0
    return f"{count} processor{'s' if count != 1 else ''}, {platform.system()} {platform.release()}"


def check_rounds(rounds: int) -> None:
    """Check that there are enough for the statistics.

    :raise UsageError: there are not
    """
    if rounds < FEWEST:
        raise UsageError(f"--rounds {rounds}: at least {FEWEST} runs of each series are needed")
