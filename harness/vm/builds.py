"""QEMU builds: where one is, what it is, what it can do."""

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
"""QEMU's own functional tests are told their binary by this variable."""
ALIASES = {"q35": "q35", "pc": "i440fx"}
"""Machine types that are another in each version of QEMU, and what its versions are called."""
FETCH = "vfio-multifd qemu fetch"
DEFAULT = next(iter(fetched.NAMES))
_PROBE_TIMEOUT_S = 20.0


def find(given: str = "", origin: str = "--qemu") -> Path:
    """The QEMU to use: ``given``, else the environment's, else one on PATH, else a fetched one.

    :param given: a binary, a folder or a build tree that has one, or a name of ``fetched``
    :param origin: who gave it, for the words of an error
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
        f"no {BINARY} on PATH: give one with --qemu, or fetch one with {FETCH} {DEFAULT}"
    )


def _named(name: str, origin: str) -> Path | None:
    """The fetched or built QEMU called so; None: nothing is called so.

    :raise PrerequisiteMissing: it can be fetched or built, but was not
    """
    if name not in fetched.names():
        command = built.command_for(name)
        if command and not Path(name).exists():
            raise PrerequisiteMissing(f"{origin}: {name} is not there yet: {command}")
        return None
    binary = fetched.CACHE / name / BINARY
    if not binary.exists():
        raise PrerequisiteMissing(f"{origin}: {name} is not there yet: {FETCH} {name}")
    return binary


def _executable(path: Path, origin: str) -> Path:
    if path.is_dir():
        inside = [path / BINARY, path / "build" / BINARY]  # built where it is, or below
        found = next((binary for binary in inside if binary.is_file()), None)
        if found is None:
            raise PrerequisiteMissing(
                f"{origin}: {path} is a folder without {BINARY} in it, or in build/"
            )
        path = found
    if not path.exists():
        known = "" if "/" in str(path) else f"; builds with names: {', '.join(fetched.names())}"
        raise PrerequisiteMissing(f"{origin}: {path}: there is no such QEMU{known}")
    if not path.is_file() or not os.access(path, os.X_OK):
        raise PrerequisiteMissing(f"{origin}: {path}: not an executable file")
    return path.absolute()


def version_of(binary: Path) -> tuple[int, int, int]:
    """What ``--version`` says.

    :raise PrerequisiteMissing: it does not start, or is not a QEMU
    """
    try:
        answer = subprocess.run(
            [binary, "--version"], capture_output=True, timeout=_PROBE_TIMEOUT_S, check=False
        )
    except OSError as error:
        raise PrerequisiteMissing(f"{binary}: cannot be executed: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise PrerequisiteMissing(f"{binary}: --version did not end") from error
    text = answer.stdout.decode(errors="backslashreplace")
    match = re.search(r"QEMU emulator version (\d+)\.(\d+)\.(\d+)", text)
    if match is None:
        lines = (text + answer.stderr.decode(errors="backslashreplace")).strip().splitlines()
        raise PrerequisiteMissing(
            f"{binary}: is not a QEMU: --version says {lines[-1] if lines else 'nothing'!r}"
        )
    major, minor, micro = (int(part) for part in match.groups())
    return major, minor, micro


def require_version(binary: Path | str, version: tuple[int, int, int]) -> None:
    """:raise PrerequisiteMissing: ``version`` has no multifd device state transfer."""
    if version < MINIMUM:
        raise PrerequisiteMissing(
            f"{binary}: QEMU {'.'.join(map(str, version))} has no multifd transfer of VFIO "
            f"device state: version {MINIMUM[0]}.{MINIMUM[1]} or newer is needed"
        )


def trace_events_path(binary: Path, given: str = "") -> Path:
    """The build's ``trace-events-all``: ``given``, else beside the binary.

    Looked for in a build tree (``trace/``), an installation (``../share/qemu``) and a
    fetched build (``usr/share/qemu``).

    :raise PrerequisiteMissing: it is nowhere
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
        f"{binary}: no trace-events-all beside it: give its path with --trace-events"
    )


async def _ask(monitor: Monitor, command: str, **arguments: str) -> Any:
    """The answer; empty: no such device, no trace events, or no such command in this build."""
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
    """What a build is, asked of it without any device.

    :ivar facts: version, properties, capabilities
    :ivar machines: machine types, with aliases
    :ivar has_log_backend: whether ``-trace`` with ``-D`` really writes
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
    """Start ``binary`` without a machine and ask it.

    :raise PrerequisiteMissing: it does not come up, or is too old
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
                f"{binary}: does not come up: {said[-1] if said else error}"
            ) from error
        finally:
            try:
                await monitor.close()
                ours.close()
                if process.is_end_asked:
                    await process.wait(5.0)
            finally:
                process.kill_now()  # nothing, where it has ended
        names = {m["name"] for m in machines} | {m["alias"] for m in machines if "alias" in m}
        wrote = b"qmp" in trace.read_bytes()
    known = frozenset(each["name"] for each in types)
    return Probe(found, tuple(sorted(names)), wrote, schema, properties, known)


def probe_now(binary: Path) -> Probe:
    """:func:`probe`, from code that runs no loop."""
    return interrupt.run(probe(binary))


@functools.cache
def common_machine(machine: str, source: Path, destination: Path) -> str:
    """The machine type that both builds are given where ``machine`` is wanted.

    ``q35`` and ``pc`` are another type in each version, so two builds are given the newest
    that both know, as in ``pc-q35-10.0`` (query-machines); any other name stays.

    :raise PrerequisiteMissing: there is none, or a build does not come up
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
