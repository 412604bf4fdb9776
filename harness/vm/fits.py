"""Whether the builds of a scenario know its names: machine, trace events, QMP events.

This is checked before a run, so that no QEMU is blamed for a misspelt name.
"""

import difflib
import fnmatch
import functools
import re
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import PrerequisiteMissing, UsageError
from harness.history.contract import NAMES
from harness.history.records import Kind
from harness.scenario import Scenario
from harness.scenario.action_plan import When
from harness.scenario.strict_json import did_you_mean
from harness.trace import catalogue
from harness.vm import builds

Events = Mapping[str, Mapping[str, frozenset[str]]]
"""Event -> its arguments -> values of each if it is an enumeration, else empty."""

_NO_PCI = ("none", "isapc", "microvm", "nitro-enclave", "x-remote", "xenfv", "xenpv")
"""Machine types of x86 without a PCI bus 0 for the devices."""
_USUAL_PATTERNS = frozenset(("vfio_*", "multifd_*"))
"""Trace events of every QEMU from 10.0 on (hw/vfio, migration/multifd*.c): never looked up."""
_COMMON: Events = {
    "STOP": {},
    "RESUME": {},
    "MIGRATION": {
        "status": frozenset(
            (
                *("none", "setup", "active", "pre-switchover", "device", "completed", "failed"),
                *("cancelling", "cancelled", "postcopy-active", "postcopy-paused"),
            )
        )
    },
}
"""Events of every QEMU from 10.0 on (qapi/run-state.json, qapi/migration.json): never queried."""
_USUAL_CAPABILITIES = frozenset(
    ("events", "return-path", "multifd", "mapped-ram", "switchover-ack", "pause-before-switchover")
)
_USUAL_PARAMETERS = frozenset(
    ("downtime-limit", "max-bandwidth", "avail-switchover-bandwidth", "multifd-channels",
     "multifd-compression")
)  # fmt: skip
"""Those of every QEMU from 10.0 on (qapi/migration.json): never queried."""
_TIMEOUT_S = 20.0
_TYPO = 0.85
"""How similar a misspelt name is to the right one.  Names that only 11.1 has are below 0.7 of all
names of 10.0.
"""
_BOOLS = ("on", "off", "yes", "no", "true", "false", "y", "n")
"""qapi_bool_parse() in QEMU's qapi/qapi-util.c."""
_SIZE = re.compile(r"(0x[0-9a-fA-F]+|[0-9]+(\.[0-9]+)?[bBkKmMgGtTpPeE]?)")
_INTEGERS = {
    f"{sign}int{bits}": (0, (1 << bits) - 1) if sign else (-1 << bits - 1, (1 << bits - 1) - 1)
    for sign in ("", "u")
    for bits in (8, 16, 32, 64)
}


def require(scenario: Scenario, trace_events: str = "", *, is_replayed: bool = False) -> None:
    """Refuse names that the builds of ``scenario`` do not know.

    :raise UsageError: there are such names; the message has all of them in one line
    :raise PrerequisiteMissing: a build cannot be queried
    """
    if found := list(problems(scenario, trace_events, is_replayed=is_replayed)):
        raise UsageError(f"{scenario.name}: {'; '.join(found)}")


def problems(
    scenario: Scenario, trace_events: str = "", *, is_replayed: bool = False
) -> Iterator[str]:
    """A sentence for each name of ``scenario`` that its builds do not know.

    :param trace_events: path of trace-events-all; empty for that of each binary
    :param is_replayed: whether a capture is the source
    :raise PrerequisiteMissing: a build cannot be queried
    """
    destination = scenario.qemu_dst or scenario.qemu
    given = (destination,) if is_replayed else (scenario.qemu, destination)
    binaries = tuple(dict.fromkeys(builds.find(each) for each in given))
    yield from _machine(scenario.machine, binaries)
    if scenario.trace:
        paths = tuple(builds.trace_events_path(binary, trace_events) for binary in binaries)
        is_usual = _USUAL_PATTERNS.issuperset(scenario.trace)
        traced = frozenset() if is_usual else _traced(paths)
        for number, pattern in enumerate(scenario.trace):
            if traced and not _is_there(pattern, traced):
                known = traced | {f"{name.partition('_')[0]}_*" for name in traced}
                near = did_you_mean(pattern, known)
                yield f"trace[{number}] is {pattern!r}: the build has no such trace event{near}"
    yield from _settings(scenario, binaries)
    yield from _arguments(scenario.qemu_args, binaries)
    for number, device in enumerate(scenario.devices):
        if device.properties:
            for words in _properties(device.properties, binaries):
                yield f"devices[{number}].properties.{words}"
    for number, action in enumerate(scenario.actions):
        for words in _when(action.when, binaries):
            yield f"actions[{number}].when.{words}"
    if scenario.destination is not None:
        alone = msgspec.structs.replace(scenario, destination=None, then=())
        own = set(problems(alone, trace_events, is_replayed=is_replayed))
        there = problems(scenario.at_destination, trace_events, is_replayed=is_replayed)
        yield from (f"destination: {words}" for words in there if words not in own)
    for number, each in enumerate(scenario.migrations()[1:]):
        alone = msgspec.structs.replace(each, then=())
        yield from (f"then[{number}]: {words}" for words in problems(alone, trace_events))


def _machine(machine: str, binaries: Sequence[Path]) -> Iterator[str]:
    name = machine.partition(",")[0]
    if name.startswith(_NO_PCI):
        yield f"machine is {name!r}: it has no PCI bus for the devices; q35 has"
        return
    if name in builds.ALIASES:  # a build without it does not start: lacking.at_launch says why
        return
    for binary in binaries:
        known = machines(binary)
        if known and name not in known:
            yield f"machine is {name!r}: {binary} has none{did_you_mean(name, known)}"


def _settings(scenario: Scenario, binaries: Sequence[Path]) -> Iterator[str]:
    """Names that are nearly those of a build.  Any other unknown name may be of a newer one."""
    for field, given, usual, known_by in (
        ("capabilities", scenario.capabilities, _USUAL_CAPABILITIES, _capabilities),
        ("parameters", scenario.parameters, _USUAL_PARAMETERS, _parameters),
    ):
        if names := [name for name in given if name not in usual]:
            known: set[str] = set().union(*map(known_by, binaries))
            for name in names:
                if near := _meant(name, known):
                    yield f"{field}.{name}: the build has no such name; did you mean {near}?"


def _arguments(arguments: Sequence[str], binaries: Sequence[Path]) -> Iterator[str]:
    """Types that are nearly those of a build.  Any other unknown one may be of a newer build."""
    for number, (option, value) in enumerate(pairwise(arguments), 1):
        if option.lstrip("-") in ("device", "object"):
            known = set[str]().union(*(_probe(each, _stamp(each)).types for each in binaries))
            name = value.partition(",")[0]
            if near := _meant(name, known):
                yield f"qemu_args[{number}]: the build has no {name}; did you mean {near}?"


def _meant(name: str, known: Collection[str]) -> str:
    """The one of ``known`` that is similar to ``name``; empty if it is known or similar to none."""
    near = [] if name in known else difflib.get_close_matches(name, known, 1, _TYPO)
    return near[0] if near else ""


def _properties(given: Mapping[str, str | int | bool], binaries: Sequence[Path]) -> Iterator[str]:
    """Values that QEMU refuses at its start, and names that are nearly those of a build."""
    types = [property_types(binary) for binary in binaries]
    for name, value in given.items():
        if near := _meant(name, set().union(*types)):
            yield f"{name}: vfio-pci has no such property; did you mean {near}?"
        for each in dict.fromkeys(known[name] for known in types if name in known):
            if wanted := _unlike(value, each):
                yield f"{name} is {value!r}, not {wanted}"
                break


def _unlike(value: str | int | bool, of_type: str) -> str:
    """What QEMU accepts for a property of that type; empty if ``value`` is such a value."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if of_type == "bool":
        return "" if text in _BOOLS else "on or off"
    if of_type == "OnOffAuto":
        # A bool is written as on or off (harness.devices.vfio_pci).
        is_one = isinstance(value, bool) or text in ("on", "off", "auto")
        return "" if is_one else "on, off or auto"
    if of_type == "size":
        is_size = _SIZE.fullmatch(text) and not (text.isdecimal() and int(text) >> 64)
        return "" if is_size else "a size like 4096 or 16M"
    if of_type in _INTEGERS:
        low, high = _INTEGERS[of_type]
        try:
            return "" if low <= int(text, 0) <= high else f"{low} to {high}"
        except ValueError:
            return "a number"
    return ""


def _when(when: When, binaries: Sequence[Path]) -> Iterator[str]:
    """One build that has the event is enough: the other may be older."""
    if (
        when.kind == Kind.QMP
        and when.name not in NAMES.get(Kind.QMP, ())
        and list(_event(when, _COMMON))
    ):
        known = [events(binary) for binary in binaries]
        yield from min((list(_event(when, each)) if each else [] for each in known), key=len)


def _event(when: When, known: Events) -> Iterator[str]:
    if when.name not in known:
        yield f"name is {when.name!r}: no QMP event{did_you_mean(when.name, known)}"
        return
    arguments = known[when.name]
    for name, value in when.args.items():
        if name not in arguments:
            yield f"args.{name}: {when.name} has no such argument{did_you_mean(name, arguments)}"
        elif (words := arguments[name]) and value not in list(words):  # may be unhashable
            yield f"args.{name} is {value!r}: unknown{did_you_mean(str(value), words)}"


# -- what the builds know ----------------------------------------------------------------


def machines(binary: Path) -> frozenset[str]:
    """The machine types of ``binary``, with aliases; empty if it does not list them.

    :raise PrerequisiteMissing: it cannot be executed
    """
    return _machines(binary, _stamp(binary))


def events(binary: Path) -> Events:
    """The QMP events of ``binary`` (query-qmp-schema).

    :raise PrerequisiteMissing: it does not come up
    """
    return _events(binary, _stamp(binary))


def property_types(binary: Path) -> Mapping[str, str]:
    """Properties of vfio-pci in ``binary`` with their types, as in ``bool``; empty if it does not
    list them.

    :raise PrerequisiteMissing: it does not come up
    """
    return {each["name"]: each["type"] for each in _probe(binary, _stamp(binary)).properties}


def _capabilities(binary: Path) -> Collection[str]:
    return _probe(binary, _stamp(binary)).facts.capabilities


def _parameters(binary: Path) -> Collection[str]:
    schema = {each["name"]: each for each in _probe(binary, _stamp(binary)).schema}
    command = schema.get("migrate-set-parameters")
    return [each["name"] for each in schema[command["arg-type"]]["members"]] if command else []


def _stamp(binary: Path) -> int:
    """A number that differs once the file is rebuilt."""
    try:
        return binary.stat().st_mtime_ns
    except OSError as error:
        raise PrerequisiteMissing(f"{binary}: {error.strerror}") from error


@functools.cache
def _machines(binary: Path, _stamp: int) -> frozenset[str]:
    try:
        answer = subprocess.run(
            [binary, "-machine", "help"], capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except OSError as error:
        raise PrerequisiteMissing(f"{binary}: cannot execute: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise PrerequisiteMissing(f"{binary}: -machine help did not end") from error
    _heading, *lines = answer.stdout.decode(errors="backslashreplace").splitlines() or [""]
    return frozenset(line.split()[0] for line in lines if line.strip())


@functools.cache
def _probe(binary: Path, _stamp: int) -> builds.Probe:
    return builds.probe_now(binary)


@functools.cache
def _events(binary: Path, stamp: int) -> Events:
    return events_of(_probe(binary, stamp).schema)


def events_of(schema: Sequence[Mapping[str, Any]]) -> Events:
    """The events in an answer of query-qmp-schema (qapi/introspect.json)."""
    types = {each["name"]: each for each in schema}

    def words(name: str) -> frozenset[str]:
        return frozenset(types[name]["values"] if types[name]["meta-type"] == "enum" else ())

    return {
        each["name"]: {
            member["name"]: words(member["type"]) for member in types[each["arg-type"]]["members"]
        }
        for each in schema
        if each["meta-type"] == "event"
    }


def _traced(paths: Sequence[Path]) -> frozenset[str]:
    """Trace events that at least one of the builds has whose trace-events-all ``paths`` are."""
    return _names(tuple((path, _stamp(path)) for path in dict.fromkeys(paths)))


@functools.cache
def _names(paths: tuple[tuple[Path, int], ...]) -> frozenset[str]:
    found: set[str] = set()
    for path, _ in paths:
        try:
            found |= catalogue.names(path.read_text(errors="backslashreplace"))
        except OSError as error:
            raise PrerequisiteMissing(f"{path}: cannot read: {error.strerror}") from error
    return frozenset(found)


@functools.cache
def _is_there(pattern: str, traced: frozenset[str]) -> bool:
    return bool(fnmatch.filter(traced, pattern))
