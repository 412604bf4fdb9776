"""QEMU builds: where they are, what they are, what they can do."""

import asyncio
import functools
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import interrupt
from harness.errors import LaunchError, LostVM, PrerequisiteMissing, QmpError
from harness.history import Side
from harness.history.builds import BuildFacts
from harness.supervisor.spawn import Spawn
from harness.vm import built, fetched, sanitizers
from harness.vm.activity import Activity
from harness.vm.memory_file import memory_file
from harness.vm.process import QemuProcess
from harness.vm.qmp import Monitor

MINIMUM = (10, 0, 0)
"""The first version that has x-migration-multifd-transfer."""
BINARY = fetched.BINARY
ENVIRONMENT = "QEMU_TEST_QEMU_BINARY"
"""The variable that gives QEMU's own functional tests their binary."""
ALIASES = {"q35": "q35", "pc": "i440fx"}
"""Machine types that are versioned, and what their versions are named after."""
FETCH = "vfio-multifd qemu fetch"
DEFAULT = next(iter(fetched.NAMES))
_PROBE_TIMEOUT_S = 20.0


def find(given: str = "", origin: str = "--qemu") -> Path:
    """The QEMU to use: ``given``, else the environment's, else one on PATH, else a fetched one.

    :param given: a binary, a folder or a build tree that has one, or a name of ``fetched``
    :param origin: the option or variable that gave it, for messages
    :raise PrerequisiteMissing: there is none, or it cannot be executed
    """
    for name, giver in ((given, origin), (os.environ.get(ENVIRONMENT, ""), ENVIRONMENT)):
        if name:
            return _executable(_named(name, giver) or Path(shutil.which(name) or name), giver)
    on_path = shutil.which(BINARY)
    there = fetched.binaries(is_plain=True)
    if on_path and (version_of(Path(on_path)) >= MINIMUM or not there):
        return Path(on_path).absolute()
    if there:
        return there[0]
    raise PrerequisiteMissing(
        f"no {BINARY} on PATH: use --qemu, or fetch one with {FETCH} {DEFAULT}"
    )


def _named(name: str, origin: str) -> Path | None:
    """The fetched or built QEMU of that name; None if the name is not one of a build.

    :raise PrerequisiteMissing: it can be fetched or built, but was not
    """
    if name not in fetched.names():
        command = built.command_for(name)
        if command and not Path(name).exists():
            raise PrerequisiteMissing(f"{origin}: {name} is not built yet: {command}")
        return None
    binary = fetched.CACHE / name / BINARY
    if not binary.exists():
        raise PrerequisiteMissing(f"{origin}: {name} is not fetched yet: {FETCH} {name}")
    return binary


def _executable(path: Path, origin: str) -> Path:
    if path.is_dir():
        inside = [path / BINARY, path / "build" / BINARY]  # built where it is, or below
        found = next((binary for binary in inside if binary.is_file()), None)
        if found is None:
            raise PrerequisiteMissing(
                f"{origin}: {path} has no {BINARY}, neither directly nor in build/"
            )
        path = found
    if not path.exists():
        known = "" if "/" in str(path) else f"; builds with names: {', '.join(fetched.names())}"
        raise PrerequisiteMissing(f"{origin}: {path}: no such QEMU{known}")
    if not path.is_file() or not os.access(path, os.X_OK):
        raise PrerequisiteMissing(f"{origin}: {path}: not an executable file")
    return path.absolute()


_MONITOR_OBJECT = (11, 1)


def version_of(binary: Path) -> tuple[int, int, int]:
    """The version that ``--version`` prints.

    :raise PrerequisiteMissing: it does not start, or is not a QEMU
    """
    try:
        answer = subprocess.run(
            [binary, "--version"], capture_output=True, timeout=_PROBE_TIMEOUT_S, check=False
        )
    except OSError as error:
        raise PrerequisiteMissing(f"{binary}: cannot execute: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise PrerequisiteMissing(f"{binary}: --version did not end") from error
    text = answer.stdout.decode(errors="backslashreplace")
    match = re.search(r"QEMU emulator version (\d+)\.(\d+)\.(\d+)", text)
    if match is None:
        lines = (text + answer.stderr.decode(errors="backslashreplace")).strip().splitlines()
        raise PrerequisiteMissing(
            f"{binary}: not a QEMU: --version prints {lines[-1] if lines else 'nothing'!r}"
        )
    major, minor, micro = (int(part) for part in match.groups())
    _versions[_identity(binary)] = major, minor, micro
    return major, minor, micro


_versions: dict[tuple[object, ...], tuple[int, int, int]] = {}
"""Those of ``version_of``, of this process and of what it was forked from."""


def _identity(binary: Path) -> tuple[object, ...]:
    """What differs once another build has taken its place."""
    found = binary.stat()
    return str(binary), found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def has_monitor_object(binary: Path) -> bool:
    """Whether it is known, without starting it, to have ``-object monitor-qmp`` (QEMU 11.1), where
    ``-mon`` is deprecated.
    """
    try:
        if (version := _versions.get(_identity(binary))) is not None:
            return version >= _MONITOR_OBJECT
    except OSError:
        return False
    return fetched.version_beside(binary) >= _MONITOR_OBJECT


def require_version(binary: Path | str, version: tuple[int, int, int]) -> None:
    """Require a version that has the multifd transfer of device state.

    :raise PrerequisiteMissing: it is older
    """
    if version < MINIMUM:
        raise PrerequisiteMissing(
            f"{binary}: QEMU {'.'.join(map(str, version))} has no multifd transfer of VFIO "
            f"device state: version {MINIMUM[0]}.{MINIMUM[1]} or newer is needed"
        )


def trace_events_path(binary: Path, given: str = "") -> Path:
    """The build's ``trace-events-all``: ``given``, else the one that belongs to the binary.

    It is looked for in a build tree (``trace/``), an installation (``../share/qemu``) and a
    fetched build (``usr/share/qemu``).

    :raise PrerequisiteMissing: there is none
    """
    if given:
        return Path(given)
    real = binary.resolve()
    for place in (
        real.parent / "trace",
        real.parent.parent / "share" / "qemu",
        real.parent / "usr" / "share" / "qemu",
        binary.parent / "trace",
        binary.parent.parent / "share" / "qemu",
    ):
        if (place / "trace-events-all").is_file():
            return place / "trace-events-all"
    raise PrerequisiteMissing(
        f"{binary}: trace-events-all not found: give its path with --trace-events"
    )


async def _ask(monitor: Monitor, command: str, **arguments: str) -> Any:
    """The answer; empty if this build has no such device, trace event or command."""
    try:
        return await monitor.execute(command, arguments)
    except QmpError:
        return []


async def facts(monitor: Monitor, binary: Path | str) -> BuildFacts:
    """What the running QEMU behind ``monitor`` is and can do."""

    properties, capabilities, machine, states = await asyncio.gather(
        _ask(monitor, "device-list-properties", typename="vfio-pci"),
        _ask(monitor, "query-migrate-capabilities"),
        _ask(monitor, "qom-get", path="/machine", property="type"),
        _ask(monitor, "trace-event-get-state", name="vfio_load_bufs_thread_start"),
    )
    return BuildFacts(
        path=str(binary),
        version=monitor.version,
        version_text=monitor.version_text,
        machine=machine.removesuffix("-machine") if isinstance(machine, str) else "",
        vfio_pci_properties=tuple(sorted(p["name"] for p in properties)),
        capabilities=tuple(sorted(c["capability"] for c in capabilities)),
        trace_events=any(state["state"] != "unavailable" for state in states),
        sanitizers=sanitizers.of(Path(binary)),
    )


class Probe:
    """Facts about a build, which it gave without any device.

    :ivar facts: version, properties, capabilities
    :ivar machines: machine types, with aliases
    :ivar has_log_backend: whether ``-trace`` with ``-D`` writes anything
    :ivar schema: its answer to query-qmp-schema (qapi/introspect.json)
    :ivar properties: its answer to device-list-properties of vfio-pci (qapi/qdev.json)
    :ivar types: names of its QOM types
    """

    def __init__(
        self,
        facts: BuildFacts,
        machines: tuple[str, ...],
        has_log_backend: bool,
        schema: Sequence[dict[str, Any]] = (),
        properties: Sequence[dict[str, Any]] = (),
        types: frozenset[str] = frozenset(),
    ) -> None:
        self.facts = facts
        self.machines = machines
        self.has_log_backend = has_log_backend
        self.schema = schema
        self.properties = properties
        self.types = types


async def probe(binary: Path) -> Probe:
    """Start ``binary`` without a machine and query it.

    :raise PrerequisiteMissing: it does not start, or is too old
    """
    require_version(binary, version_of(binary))
    activity = Activity()
    with memory_file("trace") as (trace, trace_fd), memory_file("stderr") as (stderr, _):
        ours, theirs = socket.socketpair()
        process = QemuProcess(
            Side.HARNESS,
            [
                str(binary), "-nodefaults", "-no-user-config", "-display", "none",
                "-machine", "none", "-S",
                "-chardev", f"socket,id=qmp,fd={theirs.fileno()}",
                "-mon", "chardev=qmp,mode=control",
                "-msg", "timestamp=on", "-trace", "*qmp*", "-D", f"/proc/self/fd/{trace_fd}",
            ],
            stderr,
            lambda _record: None,
            activity,
        )  # fmt: skip
        monitor = Monitor(Side.HARNESS, lambda _record: None, activity.notify)
        try:
            with theirs:
                await process.start(Spawn.start, (theirs.fileno(), trace_fd), 4 << 30)
            await monitor.connect(ours, _PROBE_TIMEOUT_S)
            found = await facts(monitor, binary)
            machines = await monitor.execute("query-machines")
            schema = await _ask(monitor, "query-qmp-schema")
            properties = await _ask(monitor, "device-list-properties", typename="vfio-pci")
            types = await _ask(monitor, "qom-list-types")
            process.is_end_asked = True
            await monitor.execute("quit")
        except (LostVM, LaunchError) as error:
            said = process.stderr().strip().splitlines()
            raise PrerequisiteMissing(
                f"{binary}: does not start: {said[-1] if said else error}"
            ) from error
        finally:
            try:
                await monitor.close()
                ours.close()
                if process.is_end_asked:
                    await process.wait(5.0)
            finally:
                process.kill_now()  # does nothing if it has ended
        names = {m["name"] for m in machines} | {m["alias"] for m in machines if "alias" in m}
        wrote = b"qmp" in trace.read_bytes()
    known = frozenset(each["name"] for each in types)
    return Probe(found, tuple(sorted(names)), wrote, schema, properties, known)


def probe_now(binary: Path) -> Probe:
    """:func:`probe`, for code without an event loop."""
    return interrupt.run(probe(binary))


@functools.cache
def common_machine(machine: str, source: Path, destination: Path) -> str:
    """The machine type to use for ``machine`` in both builds.

    ``q35`` and ``pc`` are another type in each version, so two builds get the newest one that both
    have, as in ``pc-q35-10.0`` (query-machines); any other name is used as it is.

    :raise PrerequisiteMissing: there is none, or a build does not start
    """
    if source == destination or machine not in ALIASES:
        return machine
    name = re.compile(rf"pc-{ALIASES[machine]}-(\d+)\.(\d+)")
    known = [set(probe_now(binary).machines) for binary in (source, destination)]
    common = [match for one in known[0] & known[1] if (match := name.fullmatch(one))]
    if not common:
        raise PrerequisiteMissing(
            f"{source} and {destination} have no pc-{ALIASES[machine]} machine type in common"
        )
    return max(common, key=lambda match: (int(match[1]), int(match[2])))[0]
