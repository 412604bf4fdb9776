"""Which scenarios a job runs: files or the main job, with the **settings** of the command line."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from harness import scenario
from harness.errors import PrerequisiteMissing, UsageError
from harness.history import rundir
from harness.job import scenario_checks
from harness.scenario import Device, EmulatedDevice, Scenario, main_job
from harness.scenario.fault_plan import FaultPlan
from harness.scenario.guest_plan import LINUX_RAM_MIB, Guest
from harness.vm import builds, fits


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the command line overrides in a scenario."""

    qemu: str = ""
    qemu_dst: str = ""
    channels: int | None = None
    kinds: tuple[Device, ...] = ()
    """The devices, in place of the scenario's."""
    devices: int | None = None
    size: int | None = None
    seed: int | None = None
    guest: bool = False
    qemu_args: tuple[str, ...] = ()
    """Added to those of the scenario."""
    faults: FaultPlan = ()

    @property
    def has_shape(self) -> bool:
        """Whether they say what to migrate."""
        has_devices = bool(self.kinds) or not (self.devices is self.size is None)
        is_extended = self.guest or bool(self.qemu_args)
        return has_devices or is_extended or self.channels is not None


def scenarios(paths: Sequence[Path], settings: Settings, trace_events: str = "") -> list[Scenario]:
    """The scenarios to run, settings applied.

    :raise UsageError: a file cannot be used, or a setting does not fit it
    :raise PrerequisiteMissing: there is no such QEMU, or it cannot be used
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
        require(Path(binary), trace_events, is_shared=len(found) > 1, has_trace=has_trace)
    if paths or settings.has_shape:
        for each, origin in zip(found, origins, strict=True):
            with scenario_checks.named(origin):
                fits.require(each, trace_events)
    return found


def _plain(kinds: tuple[Device, ...]) -> Scenario:
    """A scenario of the command line alone, before its settings are applied.

    Only a relay sees what a device of the kernel gives; and it may be in the rig, where
    everything takes long.
    """
    plain = Scenario(name="plain")
    if not any(device.is_kernel for device in kinds):
        return plain
    return msgspec.structs.replace(plain, relay=True, deadline_s=60.0)


def require(binary: Path, trace_events: str, *, is_shared: bool, has_trace: bool) -> None:
    """Check what every run needs of ``binary`` once, so that it is reported once.

    :param is_shared: by several runs, which would each find the same
    :raise PrerequisiteMissing: something is missing
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

    :raise UsageError: that is no scenario that can be run
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
    if settings.qemu_args:
        fields["qemu_args"] = original.qemu_args + settings.qemu_args
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
    """The fields that give ``original`` a guest besides ``devices``, and the RAM that it needs."""
    guest = original.guest or Guest()
    least = 3 * LINUX_RAM_MIB // 2 if guest.is_linux(devices) else 0
    return {"guest": guest, "ram_mib": max(original.ram_mib, least)}


def _devices(originals: Sequence[Device], settings: Settings) -> Iterator[Device]:
    """As many devices as are wanted: the scenario's own, then copies of its last."""
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
    """``device``, the ``number``-th, with the settings that are about its state."""
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
