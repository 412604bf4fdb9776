"""What is wrong with a scenario that can be read: it would blame a QEMU for what it cannot do.

All of it follows from the scenario alone; what depends on a build is ``harness.vm.fits``.
A saved run is read without these checks, so that an older one can still be judged.
"""

import contextlib
import re
from collections.abc import Iterator

import msgspec

from harness.errors import UsageError
from harness.history.contract import NAMES
from harness.history.records import Kind, Side
from harness.scenario import (
    MIB,
    Device,
    EmulatedDevice,
    OnOffAuto,
    Scenario,
    Transport,
    fault_plan,
    strict_json,
)
from harness.scenario.action_plan import Suspend, Tell, When
from harness.scenario.delays import delays
from harness.scenario.fault_plan import Fault, Select, Until
from harness.scenario.ranges import INT64_MAX
from harness.scenario.strict_json import did_you_mean
from harness.vm import acpi

MOST_DEVICES = 29
"""PCI slots 2 to 30 of bus 0: 0, 1 and 31 are taken on q35 and pc."""
_ID = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
_OWNED = frozenset({"id", "addr", "bus", "fd", "iommufd", "host", "sysfsdev", "migration-events"})
"""Properties of vfio-pci that say which device it is and where: the harness sets them."""
_OWN_ARGUMENTS = {
    **dict.fromkeys(
        ("incoming", "D", "d", "msg", "name", "nodefaults", "display", "bios", "kernel", "initrd"),
        "",
    ),
    **dict.fromkeys(("machine", "M"), "use machine"),
    "m": "use ram_mib",
    "trace": "use trace",
    "daemonize": "QEMU would leave its supervisor",
    **dict.fromkeys(("S", "preconfig", "loadvm"), "the guest would not run as it must"),
    **dict.fromkeys(("h", "help", "version"), "QEMU would end at once"),
}
"""Options of QEMU that ``qemu_args`` cannot have, and what to use; "" if the harness sets them."""
_OF_TLS = frozenset({"tls-creds", "tls-hostname", "tls-authz"})
_QUEUE_LIMIT = "x-migration-max-queued-buffers-size"
_QEMU_MIB = 128
"""What a QEMU needs besides RAM and state: with 64 MiB of RAM it started within 200 MiB, and
aborted within 140 (10.0.13 and 11.1.3)."""
_ON = frozenset({"on", "true", "yes", "y"})
_OFF = frozenset({"off", "false", "no", "n"})


def require(scenario: Scenario) -> None:
    """:raise UsageError: something is wrong with ``scenario``; all of it in one line."""
    if found := list(problems(scenario)):
        raise UsageError(f"{scenario.name}: {'; '.join(found)}")


@contextlib.contextmanager
def named(origin: str) -> Iterator[None]:
    """Name ``origin``, a file, in what is refused; empty if it came from no file."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{origin}: {error}" if origin else str(error)) from error


def problems(scenario: Scenario) -> Iterator[str]:
    """What is wrong with ``scenario``: field, value, and the nearest name that is valid."""
    try:
        strict_json.check(scenario, Scenario)
    except ValueError as error:  # made in Python: JSON was checked when it was read
        yield str(error)
        return
    yield from _devices(scenario)
    yield from _seed("seed", scenario.seed)
    yield from _settings(scenario)
    yield from _arguments(scenario)
    for number, fault in enumerate(scenario.faults):
        for words in _fault(scenario, fault):
            yield f"faults[{number}].{words}"
    for number, action in enumerate(scenario.actions):
        for words in when_problems(action.when):
            yield f"actions[{number}].when.{words}"
        if isinstance(action, Suspend) and not acpi.can_suspend(scenario.machine):
            yield f"actions[{number}]: suspend needs the machine q35 or pc"
        if isinstance(action, Tell) and not _is_heard(scenario, action):
            yield f"actions[{number}]: {action.describe()}: no fault waits for it"
    yield from _deadline(scenario)
    if scenario.destination is not None:
        own = set(problems(msgspec.structs.replace(scenario, destination=None, then=())))
        there = problems(scenario.at_destination)
        yield from (f"destination: {words}" for words in there if words not in own)
    for number, each in enumerate(scenario.then):
        yield from (f"then[{number}]: {words}" for words in problems(each))


# -- devices ---------------------------------------------------------------------------


def _devices(scenario: Scenario) -> Iterator[str]:
    count = len(scenario.devices)
    if not 1 <= count <= MOST_DEVICES:
        yield f"devices has {count}, not 1 to {MOST_DEVICES}"
    for number, device in enumerate(scenario.devices):
        for words in _device(device):
            yield f"devices[{number}].{words}"


def _device(device: Device) -> Iterator[str]:
    if not _ID.fullmatch(device.id):
        yield (
            f"id is {device.id!r}: QEMU takes a letter, then letters, digits, '-', '.', '_' "
            "(id_wellformed() in util/id.c)"
        )
    yield from device.field_problems()
    for name, value in device.properties.items():
        if name in _OWNED:
            yield f"properties.{name} is {value!r}: the harness sets it"
    for field, name, own in (
        ("multifd_transfer", "x-migration-multifd-transfer", device.multifd_transfer),
        ("enable_migration", "enable-migration", device.enable_migration),
    ):
        given = device.properties.get(name)
        if given is not None and own is not None and _on_off(given) != own.value:
            yield f"properties.{name} is {given!r} and {field} is {own.value!r}: give one"


def _on_off(value: str | int | bool) -> str:
    """``value`` as QEMU's OnOffAuto reads it (qapi_bool_parse() in qapi/qapi-util.c)."""
    text = str(value).lower()
    return "on" if text in _ON else "off" if text in _OFF else text


def _seed(field: str, seed: int) -> Iterator[str]:
    if not 0 <= seed <= INT64_MAX:
        yield f"{field} is {seed}, not 0 to {INT64_MAX}"


# -- settings --------------------------------------------------------------------------


def _settings(scenario: Scenario) -> Iterator[str]:
    for name, field, own in (
        ("events", "", True),
        ("multifd", "multifd", scenario.multifd),
        ("return-path", "return_path", scenario.return_path),
    ):
        given = scenario.capabilities.get(name, own)
        if given != own:
            other = f"{field} is {_json(own)}: give one" if field else "no event would be seen"
            yield f"capabilities.{name} is {_json(given)}: {other}"
    for name, value in scenario.parameters.items():
        if name in _OF_TLS:
            yield f"parameters.{name} is {value!r}: the harness sets it; use tls and tls_mismatch"
    channels = scenario.parameters.get("multifd-channels", scenario.channels)
    if channels != scenario.channels:
        yield (
            f"parameters.multifd-channels is {channels!r} and channels is {scenario.channels}: "
            "give channels alone"
        )
    needed_mib = scenario.ram_mib + _QEMU_MIB + -(-scenario.state_size // MIB)
    if 0 < scenario.memory_limit_mib < needed_mib:
        yield (
            f"memory_limit_mib is {scenario.memory_limit_mib}: with RAM and state of its devices a "
            f"QEMU needs {needed_mib}, or it ends as it starts"
        )
    has_return_path = scenario.capabilities.get("return-path", scenario.return_path)
    if scenario.transport is Transport.FILE and has_return_path:
        # QEMU reads it from the file that it writes: EBADF (seen in 10.0.13 and 11.1.3).
        yield "return_path is true and transport is 'file': there is no way back through a file"


def _arguments(scenario: Scenario) -> Iterator[str]:
    """Arguments that would take from the harness what it relies on."""
    for number, word in enumerate(scenario.qemu_args):
        option = word.lstrip("-")
        if word.startswith("-") and option in _OWN_ARGUMENTS:
            instead = _OWN_ARGUMENTS[option]
            yield f"qemu_args[{number}] is {word!r}: {instead or 'the harness sets it'}"


def _json(value: bool) -> str:
    return str(value).lower()


# -- faults and actions ----------------------------------------------------------------


def _fault(scenario: Scenario, fault: Fault) -> Iterator[str]:
    for field, channel in (
        ("select.channel", fault.select.channel),
        ("channel", getattr(fault, "channel", None)),
    ):
        if channel is not None and channel >= scenario.channels:
            yield f"{field} is {channel}, but channels is {scenario.channels}: they count from 0"
    yield from _selected(scenario, fault.select)
    reported = {*fault_plan.TOLD, *(a.name for a in scenario.actions if isinstance(a, Tell))}
    until: Until | None = getattr(fault, "until", None)
    if until is not None and until.told and until.told not in reported:
        near = did_you_mean(until.told, reported)
        yield f"until.told is {until.told!r}: nothing reports it{near}"
    elif until is not None and until.told and not _comes(scenario, until):
        yield f"until.value is {until.value}: no action reports {until.told} with that much"
    since: str = getattr(fault, "since", "")
    if since and since not in (starts := {*reported, fault_plan.OPENED}):
        yield f"since is {since!r}: nothing reports it{did_you_mean(since, starts)}"


def _comes(scenario: Scenario, until: Until) -> bool:
    """Whether the event comes with its value: the relay's own may."""
    return until.told in fault_plan.TOLD or any(
        tell.name == until.told and tell.value >= until.value
        for tell in scenario.actions
        if isinstance(tell, Tell)
    )


def _is_heard(scenario: Scenario, tell: Tell) -> bool:
    """Whether a fault waits for what the action reports."""
    for fault in scenario.faults:
        until: Until | None = getattr(fault, "until", None)
        is_awaited = until is not None and until.told == tell.name and until.value <= tell.value
        if is_awaited or getattr(fault, "since", "") == tell.name:
            return True
    return False


def _selected(scenario: Scenario, select: Select) -> Iterator[str]:
    """Packets of a device that neither side has never come, unless an earlier fault makes them."""
    made = {
        fields.idstr
        for fault in scenario.faults
        if (fields := getattr(fault, "fields", None)) is not None
    }
    ids = [device.id for device in scenario.devices]
    if select.device and "/" not in select.device and select.device not in {*ids, *made}:
        yield (
            f"select.device is {select.device!r}: no device of the scenario"
            f"{did_you_mean(select.device, ids)}"
        )


def when_problems(when: When) -> Iterator[str]:
    """What no record of any run can be; names of events depend on the build."""
    if when.kind not in list(Kind):
        yield f"kind is {when.kind!r}: unknown{did_you_mean(when.kind, Kind)}"
        return
    sides = list(Side)
    if when.side and when.side not in sides:
        yield f"side is {when.side!r}: unknown{did_you_mean(when.side, sides)}"
    kind = Kind(when.kind)
    if kind is Kind.TRACE:
        yield "kind is 'trace': a trace is read when the run has ended"
    elif kind is not Kind.QMP and when.name not in NAMES.get(kind, (when.name,)):
        yield f"name is {when.name!r}: no record of {kind}{did_you_mean(when.name, NAMES[kind])}"


# -- time ------------------------------------------------------------------------------


def _deadline(scenario: Scenario) -> Iterator[str]:
    """The devices' own delays fit into the deadline, where nothing ends the run before."""
    if scenario.actions or scenario.faults or scenario.tls_mismatch is not None:
        return
    for device in scenario.emulated:
        if not _completes(device):
            return
    for device in scenario.emulated:
        for what, calls, delay_s in delays(device):
            if calls * delay_s > scenario.deadline_s:
                yield (
                    f"deadline_s is {scenario.deadline_s:g}: {device.id} needs "
                    f"{calls * delay_s:g} s for {calls} {what}s with {what}_delay_s {delay_s:g}"
                )


def _completes(device: EmulatedDevice) -> bool:
    """Whether nothing about ``device`` is there to end a migration before all is transferred."""
    return (
        device.stop_copy
        and device.enable_migration is not OnOffAuto.OFF
        and device.save.error_at is device.load.error_at is None
        and _QUEUE_LIMIT not in device.properties
    )
