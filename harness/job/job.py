"""A **job**: several scenarios run one after another, or several saved runs judged again.

A run that is lost does not keep the others from being made; what was made is reported.
"""

import itertools
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from harness import interrupt, scenario
from harness.check.judge import TITLES, judge
from harness.check.verdict import Outcome, Verdict
from harness.errors import (
    LOST,
    SYSTEM_ERRORS,
    HarnessError,
    PrerequisiteMissing,
    UsageError,
    of_the_system,
)
from harness.history import Kind, rundir
from harness.history.rundir import History, RunDir
from harness.job import scenario_checks
from harness.job.run import Run, explained, interrupted_by, run_in
from harness.measure.measured import measured
from harness.proxy.capture import Capture
from harness.report import comparison, comparison_text, files, json_report, stuck, terminal
from harness.report.emit import emit
from harness.report.progress import Progress
from harness.report.summary import Entry, Report
from harness.scenario import Device, EmulatedDevice, Scenario, main_job
from harness.scenario.fault_plan import FaultPlan
from harness.scenario.guest_plan import LINUX_RAM_MIB, Guest
from harness.session import capture as captures
from harness.session.source import scenario_of
from harness.vm import builds, fits

Complain = Callable[[str], None]
"""Prints one line on standard error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user gave on the command line; it goes before what a scenario says."""

    qemu: str = ""
    qemu_dst: str = ""
    channels: int | None = None
    kinds: tuple[Device, ...] = ()
    """The devices, in place of the scenario's."""
    devices: int | None = None
    size: int | None = None
    seed: int | None = None
    guest: bool = False
    faults: FaultPlan = ()

    @property
    def has_shape(self) -> bool:
        """Whether they say what is to be migrated."""
        has_devices = bool(self.kinds) or not (self.devices is self.size is None)
        return has_devices or self.guest or self.channels is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a job runs its scenarios, and where its report goes."""

    runs_dir: Path
    trace_events: str = ""
    """Path of trace-events-all; empty for the one next to the binary."""
    has_capture: bool = False
    """Whether what each source sends is kept in its run directory."""
    has_progress: bool = True
    """Whether each run is reported when it ends."""
    has_steps: bool = False
    """Whether each step of each run is printed as it begins, also without progress."""
    is_json: bool = False
    reports: Sequence[Path] = ()
    """Files that the report is written to as well (``report.files``)."""
    remove_valid: bool = False
    """Whether the directories of valid runs are removed at the end."""
    baseline: Path | None = None
    """A run directory or a folder of them to compare the runs with: the exit status is then
    about what got worse (``report.comparison``)."""
    may_leave_out: bool = False
    """Whether a run that needs what is not here is left out, and the report says so, as in the
    main job, whose scenarios nobody has chosen for this build; else it is lost."""


# -- which scenarios ---------------------------------------------------------------------


def scenarios(paths: Sequence[Path], settings: Settings, trace_events: str = "") -> list[Scenario]:
    """The scenarios to run, settings applied.

    :raise UsageError: a file cannot be used, or a setting does not fit it
    :raise PrerequisiteMissing: there is no such QEMU, or it is none that can be used
    """
    turned: list[Scenario] = []
    if paths:
        wanted = [scenario.load(p / rundir.SCENARIO if p.is_dir() else p) for p in paths]
    elif settings.has_shape:
        wanted = [_plain(settings.kinds)]
    else:
        pair = [builds.find(g) for g in (settings.qemu, settings.qemu_dst or settings.qemu)]
        versions = [builds.version_of(binary) for binary in pair]
        wanted = list(main_job.scenarios(min(versions)))
        if versions[0] != versions[1]:
            back = replace(settings, qemu=str(pair[1]), qemu_dst=str(pair[0]))
            turned = [with_builds(applied(each, back), back) for each in main_job.TURNED]
    found = []
    origins = [str(path) for path in paths] or [""] * len(wanted)
    for each, origin in zip(wanted, origins, strict=True):
        with scenario_checks.named(origin):
            found.append(with_builds(applied(each, settings), settings))
    found += turned
    for binary in dict.fromkeys(name for each in found for name in (each.qemu, each.qemu_dst)):
        has_trace = any(each.trace for each in found if binary in (each.qemu, each.qemu_dst))
        _require(Path(binary), trace_events, is_shared=len(found) > 1, has_trace=has_trace)
    if paths or settings.has_shape:
        for each, origin in zip(found, origins, strict=True):
            with scenario_checks.named(origin):
                fits.require(each, trace_events)
    return found


def _plain(kinds: tuple[Device, ...]) -> Scenario:
    """The scenario of settings alone, which those still go before.

    What a device of the kernel gives only a relay sees; and it may be in the rig, where all
    takes long.
    """
    plain = Scenario(name="plain")
    if not any(device.is_kernel for device in kinds):
        return plain
    return msgspec.structs.replace(plain, relay=True, deadline_s=60.0)


def _require(binary: Path, trace_events: str, *, is_shared: bool, has_trace: bool) -> None:
    """What every run needs of ``binary``, asked once so that it is told once.

    :param is_shared: by several runs, which would each find the same
    """
    try:
        if has_trace:
            builds.trace_events_path(binary, trace_events)
    except PrerequisiteMissing:
        builds.require_version(binary, builds.version_of(binary))  # says more
        raise
    if is_shared:
        builds.require_version(binary, builds.version_of(binary))


def applied(original: Scenario, settings: Settings) -> Scenario:
    """``original`` with the settings that were given.

    :raise UsageError: it is no scenario that can be run
    """
    found = original.with_each(lambda each: _applied(each, settings))
    scenario_checks.require(found)
    return found


def _applied(original: Scenario, settings: Settings) -> Scenario:
    fields: dict[str, Any] = {}
    if settings.channels is not None:
        fields["channels"] = settings.channels
    if settings.seed is not None:
        fields["seed"] = settings.seed
    if settings.faults:
        fields["faults"] = settings.faults
    try:
        devices = tuple(_devices(settings.kinds or original.devices, settings))
        if settings.guest:
            fields |= _with_guest(original, devices)
        return msgspec.structs.replace(original, devices=devices, **fields)
    except ValueError as error:
        raise UsageError(f"{original.name}: {error}") from error


def _with_guest(original: Scenario, devices: Sequence[Device]) -> dict[str, Any]:
    """The fields that give ``original`` a guest beside ``devices``, and the RAM that it needs."""
    guest = original.guest or Guest()
    least = 3 * LINUX_RAM_MIB // 2 if guest.is_linux(devices) else 0
    return {"guest": guest, "ram_mib": max(original.ram_mib, least)}


def _devices(originals: Sequence[Device], settings: Settings) -> Iterator[Device]:
    """So many devices as are wanted: the scenario's own, then copies of its last."""
    most = scenario_checks.MOST_DEVICES
    if settings.devices is not None and not 1 <= settings.devices <= most:
        raise ValueError(f"--devices is {settings.devices}, not 1 to {most}")
    count = len(originals) if settings.devices is None else settings.devices
    names = (f"vfio{n}" for n in itertools.count())
    free = (name for name in names if name not in {device.id for device in originals})
    for number in range(count):
        if number < len(originals):
            yield _device(originals[number], settings, number)
            continue
        device = originals[-1] if originals else EmulatedDevice(id="vfio0")
        yield _device(device.copy(next(free), number), settings, number)


def _device(device: Device, settings: Settings, number: int) -> Device:
    """``device``, which is the ``number``-th, with the settings that are about its state."""
    seed = None if settings.seed is None else settings.seed + number
    return device.with_state(settings.size, seed)


def with_builds(original: Scenario, settings: Settings) -> Scenario:
    """``original`` with paths of the QEMUs that will run, so that it can be repeated.

    A second migration goes to the first one's destination QEMU where it names none.  Where the
    QEMUs of all its migrations differ, the machine type is one that they all know
    (``builds.common_machine``).

    :raise PrerequisiteMissing: there is no such QEMU
    """
    used: list[Path] = []

    def on_builds(each: Scenario) -> Scenario:
        heir = str(used[-1]) if used else ""
        source = _build(settings.qemu, each.qemu or heir, "qemu")
        of_scenario = "" if settings.qemu else each.qemu_dst
        is_given = settings.qemu_dst or of_scenario
        destination = _build(settings.qemu_dst, of_scenario, "qemu-dst") if is_given else source
        used.extend((source, destination))
        return msgspec.structs.replace(each, qemu=str(source), qemu_dst=str(destination))

    found = original.with_each(on_builds)
    binaries = list(dict.fromkeys(used))
    if len(binaries) > 1:
        binaries.sort(key=builds.version_of)
    machine = builds.common_machine(found.machine, binaries[0], binaries[-1])
    return found.with_each(lambda each: msgspec.structs.replace(each, machine=machine))


def _build(given: str, of_scenario: str, option: str) -> Path:
    if given or not of_scenario:
        return builds.find(given, f"--{option}")
    return builds.find(of_scenario, f"the scenario's QEMU (another: --{option})")


def replay(path: Path, settings: Settings, options: RunOptions, *, complain: Complain) -> int:
    """Replay the capture ``path``, report, and give the exit status.

    :raise HistoryError: it cannot be read
    :raise PrerequisiteMissing: there is no such QEMU, or it is none that can be used
    """
    capture = Capture.open(path)
    binary = builds.find(settings.qemu_dst or settings.qemu)
    wanted = scenario_of(capture, str(binary), settings.faults)
    scenario_checks.require(wanted)
    _require(binary, options.trace_events, is_shared=False, has_trace=bool(wanted.trace))
    fits.require(wanted, options.trace_events, is_replayed=True)
    return run([wanted], options, complain=complain, replayed=capture)


# -- run ---------------------------------------------------------------------------------


def run(
    wanted: Sequence[Scenario],
    options: RunOptions,
    *,
    complain: Complain,
    replayed: Capture | None = None,
) -> int:
    """Run all of ``wanted``, report, and give the exit status.

    :param replayed: takes the source's place in the one scenario that is wanted

    :raise UsageError: a report would be of no kind, or nothing of all this can be captured
    :raise HistoryError: the baseline has no run, or none of a scenario that is wanted
    """
    for path in options.reports:
        files.check(path)
    why_not = [captures.why_not(each) for each in wanted] if options.has_capture else []
    if why_not and all(why_not):
        raise UsageError(f"{wanted[0].name}: no capture: {why_not[0]}")
    before = None
    if options.baseline is not None:
        before = saved(options.baseline, complain)
        names = [migration.name for each in wanted for migration in each.migrations()]
        comparison.require_common([entry.name for entry in before], names)
    is_live = sys.stdout.isatty() and "CI" not in os.environ and not options.is_json
    out = terminal.console(is_plain=not sys.stdout.isatty())
    is_silent = options.is_json or not options.has_progress
    steps = sys.stderr if options.is_json else sys.stdout
    entries: list[Entry] = []
    interrupted = ""
    told: set[str] = set()
    with Progress(
        out,
        sum(len(each.migrations()) for each in wanted),
        is_live=is_live,
        is_silent=is_silent,
        steps=steps if options.has_steps else None,
    ) as progress:
        places: list[Path] = []
        done = 0
        try:
            for each in wanted:
                progress.begin(each.name)
                made = _run_one(each, options, places, progress.step, replayed)
                done += 1
                for each_made in made:
                    is_left_out = options.may_leave_out and each_made.cannot_run
                    entry = each_made.as_left_out() if is_left_out else each_made
                    entries.append(entry)
                    progress.end(entry)
                    if entry.error and entry.error not in told:
                        told.add(entry.error)
                        complain(f"{entry.error}{f'; see {entry.path}/' if entry.path else ''}")
                    if entry.no_capture:
                        complain(f"{entry.name}: no capture: {entry.no_capture}")
        except KeyboardInterrupt:
            interrupted = _interrupted(wanted, done, places[done:])
    report = Report(
        entries=tuple(entries),
        titles=TITLES,
        run_options=("--trace-events", options.trace_events) if options.trace_events else (),
        interrupted=interrupted,
        interrupted_status=interrupt.status(),
        removed=frozenset(_valid(entries) if options.remove_valid else ()),
    )
    status = emit(
        report,
        options.reports,
        before,
        complain,
        is_json=options.is_json,
        runs_printed=not is_silent,
    )
    for path in report.removed:
        shutil.rmtree(path)
    return status


def _interrupted(wanted: Sequence[Scenario], done: int, places: Sequence[Path]) -> str:
    """Which run was interrupted, after ``done`` of them, and where what it wrote is."""
    if done == len(wanted):
        return "after the last run"
    told = f"run {done + 1} of {len(wanted)}, {wanted[done].name}"
    kept = [f"{path}/" for path in places if path.exists()]
    return f"{told}; what it wrote is in {', '.join(kept)}" if kept else told


def _valid(entries: Sequence[Entry]) -> Iterator[Path]:
    """Directories of the runs in which everything that was asked is valid."""
    for entry in entries:
        if entry.path is not None and entry.outcome is Outcome.VALID:
            yield entry.path


def _run_one(
    wanted: Scenario,
    options: RunOptions,
    places: list[Path],
    progress: Callable[[str], None],
    replayed: Capture | None,
) -> list[Entry]:
    """The runs of all migrations of ``wanted`` that were made.

    :param places: the run directory is added to them before anything is in it
    """
    started = time.monotonic()
    path: Path | None = None
    try:
        target = RunDir.create(options.runs_dir, wanted.name)
        path = target.path
        places.append(path)
        made = interrupt.run(
            run_in(
                target,
                wanted,
                trace_events=options.trace_events,
                progress=progress,
                has_capture=options.has_capture,
                replayed=replayed,
            )
        )
        return [_entry(each) for each in made]
    except Exception as failure:  # noqa: BLE001 - a bug of ours must not lose the other runs
        return [_lost(wanted.name, path, failure, time.monotonic() - started)]


def _lost(name: str, path: Path | None, failure: Exception, seconds: float | None = None) -> Entry:
    """A run without a verdict.  A bug of the harness shows its traceback on standard error."""
    there = path if path is not None and path.exists() else None
    if isinstance(failure, SYSTEM_ERRORS):
        failure = of_the_system(failure, doing=name)
    error, status = str(failure), LOST
    if isinstance(failure, HarnessError):
        status = failure.exit_status
    else:
        traceback.print_exception(failure)
        error = f"{there or name}: {failure!r}: a bug of the harness"
    return Entry.lost(name, there, error, status, failure, seconds)


def _entry(made: Run) -> Entry:
    manifest = made.history.manifest
    seconds = (manifest.ended_ns - manifest.started_ns) / 1e9
    return _judged(made.rundir, made.history, made.verdict, seconds)


def _judged(path: Path, history: History, verdict: Verdict, seconds: float) -> Entry:
    return Entry(
        name=history.scenario.name,
        path=path,
        manifest=history.manifest,
        scenario=history.scenario,
        verdict=verdict,
        measured=measured(history),
        seconds=seconds,
        known=interrupted_by(history, verdict),
        explained=explained(history, verdict),
        stuck=stuck.describe(history),
        replay=tuple(_replay_arguments(history)),
        no_capture=next(
            (str(r.args["why"]) for r in history.records if r.name == "not_captured"), ""
        ),
    )


def _replay_arguments(history: History) -> Iterator[str]:
    for record in history.records:
        if record.kind is Kind.SESSION and record.name == "replayed":
            yield str(record.args["capture"])
            yield from ("--qemu", history.scenario.qemu_dst)
            for fault in history.scenario.faults:
                yield from ("--fault", msgspec.json.encode(fault).decode())


# -- recheck -----------------------------------------------------------------------------


def recheck(
    paths: Sequence[Path], *, is_json: bool, complain: Complain, reports: Sequence[Path] = ()
) -> int:
    """Judge the saved runs at or below ``paths`` again, report, and give the exit status.

    :param reports: files to write the report to, too

    :raise UsageError: there is none
    """
    for path in reports:
        files.check(path)
    entries = [entry for path in paths for entry in saved(path, complain)]
    report = Report(entries=tuple(entries), titles=TITLES)
    return emit(report, reports, None, complain, is_json=is_json, runs_printed=False)


def saved(path: Path, complain: Complain) -> list[Entry]:
    """The runs at or below ``path``, judged by today's rules.

    :raise UsageError: there is none
    """
    entries = []
    for found in run_dirs(path):
        entry = _recheck_one(found)
        entries.append(entry)
        if entry.error:
            complain(entry.error)
    return entries


def compare(before: Path, after: Path, *, is_json: bool, complain: Complain) -> int:
    """Tell what changed between the runs at or below both, and give the exit status.

    :raise UsageError: there is none
    :raise HistoryError: no scenario is on both sides
    """
    old, new = saved(before, complain), saved(after, complain)
    if not any(entry.error for entry in (*old, *new)):
        comparison.require_common([entry.name for entry in old], [entry.name for entry in new])
    found = comparison.compare(old, new)
    if is_json:
        sys.stdout.write(json_report.compared(found).decode())
    else:
        sys.stdout.writelines(f"{line}\n" for line in comparison_text.lines(found))
    return found.exit_status


def run_dirs(path: Path) -> list[Path]:
    """``path``, or the run directories below it, also damaged ones.

    :raise UsageError: there is none
    """
    marks = (rundir.MANIFEST, rundir.SCENARIO, rundir.HISTORY)
    if any((path / mark).exists() for mark in marks):
        return [path]
    if not path.is_dir():
        what = "not a directory" if path.exists() else "no such directory"
        raise UsageError(f"{path}: {what}; give a run directory, or a folder of them")
    found = sorted({place.parent for mark in marks for place in path.rglob(mark)})
    if not found:
        raise UsageError(f"{path}: no run directory is in it (one has a {rundir.MANIFEST})")
    return found


def _recheck_one(path: Path) -> Entry:
    started = time.monotonic()
    try:
        history = rundir.load(path)
        return _judged(path, history, judge(history), time.monotonic() - started)
    except Exception as failure:  # noqa: BLE001 - as above
        return _lost(path.name, path, failure)
