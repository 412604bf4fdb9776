"""What a scenario needs and this build, or this machine, lacks: "cannot run here".

QEMU itself is asked, not a table of versions, and only after it has refused something, so that a
scenario that works costs nothing.  Only what is certainly missing is lacking; whatever else QEMU
refuses is judged.
"""

import json
import re
import subprocess
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from harness.errors import CannotRunHere, QmpError, UsageError
from harness.history.builds import BuildFacts
from harness.scenario import MIB, Scenario
from harness.vm import builds
from harness.vm.qmp import Monitor

LINUX_FILES = ("bios-256k.bin", "linuxboot_dma.bin")
"""Files that QEMU loads to boot a Linux by ``-kernel`` (hw/i386/x86-common.c)."""
_NO_MEMORY = re.compile(r"cannot set up guest memory|Cannot allocate memory")
_ASK_TIMEOUT_S = 20.0


async def at_set_up(monitor: Monitor, binary: Path, scenario: Scenario) -> None:
    """Find out whether QEMU refused the set-up because the build lacks something.

    :raise CannotRunHere: it did; the message names what is lacking
    """
    if scenario.has_tls and not await _makes_credentials(monitor):
        raise CannotRunHere(
            f"{binary}: this build has no TLS, which {scenario.name} needs: use one that is "
            "configured with --enable-gnutls"
        )
    schema = _Schema(await monitor.ask("query-qmp-schema"))
    for command, wanted in (
        ("migrate-set-capabilities", dict.fromkeys(scenario.capabilities, True)),
        ("migrate-set-parameters", scenario.parameters),
    ):
        known = schema.accepts(command)
        for name, value in wanted.items():
            if name not in known or (isinstance(value, str) and value not in known[name]):
                what = name if name not in known else f"{name}={value}"
                raise CannotRunHere(
                    f"{binary}: this build has no {what}, which {scenario.name} needs: use "
                    "another build (vfio-multifd qemu list)"
                )


async def _makes_credentials(monitor: Monitor) -> bool:
    """Whether the build has GnuTLS: without it there are no credentials (crypto/tlscreds*.c)."""
    properties = {"qom-type": "tls-creds-anon", "id": "asked", "endpoint": "server"}
    try:
        await monitor.ask("object-add", properties)
        await monitor.ask("object-del", {"id": "asked"})
    except QmpError:
        return False
    return True


def _first(value: str) -> str:
    """What an option is about: its first word, or the driver of a device in JSON."""
    if not value.startswith("{"):
        return value.split(",", maxsplit=1)[0]
    return str(json.loads(value).get("driver", ""))


class _Anything:
    """The values of a type that is not an enumeration."""

    def __contains__(self, _value: object) -> bool:
        return True


class _Schema:
    """The answer of query-qmp-schema (qapi/introspect.json)."""

    def __init__(self, entities: list[dict[str, Any]]) -> None:
        self._entities = {entity["name"]: entity for entity in entities}

    def accepts(self, command: str) -> Mapping[str, Any]:
        """The names that a command can set, each with its values.

        Capabilities are set by a list of objects with ``capability`` and ``state``, parameters by
        arguments.
        """
        arguments = self._members(self._entities[command]["arg-type"])
        if "capabilities" not in arguments:
            return {name: self._values(kind) for name, kind in arguments.items()}
        of_one = self._entities[self._entities[arguments["capabilities"]]["element-type"]]
        names = self._values(self._members(of_one["name"])["capability"])
        return dict.fromkeys(names, _Anything())

    def _members(self, name: str) -> dict[str, str]:
        return {member["name"]: member["type"] for member in self._entities[name]["members"]}

    def _values(self, name: str) -> Any:
        entity = self._entities[name]
        if entity["meta-type"] == "alternate":  # StrOrNull and the like
            return _Anything()
        return entity["values"] if entity["meta-type"] == "enum" else _Anything()


def at_launch(
    build: BuildFacts,
    types: frozenset[str],
    machines: Collection[str],
    argv: Sequence[str],
    scenario: Scenario,
    words: str,
) -> None:
    """Find out whether QEMU did not start because something is lacking.

    :param types: QOM types of the build (qom-list-types)
    :param machines: its machine types, with aliases (query-machines); empty if not known
    :param words: QEMU's error message
    :raise CannotRunHere: it is; the message names what is lacking
    """
    for option, value in pairwise(argv):
        name = _first(value)
        # Another name was looked up before the run (vm.fits).
        if option == "-machine" and name in builds.ALIASES and machines and name not in machines:
            raise CannotRunHere(f"{build.path}: this build has no machine {name}")
        if option in ("-device", "-object") and name not in types:
            raise CannotRunHere(f"{build.path}: this build has no {name}: use another build")
    if "tcg-accel" not in types:
        raise CannotRunHere(f"{build.path}: this build has no TCG: configure it with --enable-tcg")
    known = build.vfio_pci_properties
    wanted = {name for spec in scenario.devices for name in spec.properties}
    if any(spec.multifd_transfer is not None for spec in scenario.devices):
        wanted.add("x-migration-multifd-transfer")
    missing = sorted(wanted - set(known)) if known else []
    if missing:
        raise CannotRunHere(
            f"{build.path}: this build's vfio-pci has no property {', '.join(missing)}"
        )
    if _NO_MEMORY.search(words):
        raise CannotRunHere(
            f"this machine lacks {scenario.ram_mib} MiB of memory for the guest (ram_mib): {words}"
        )


_MIGRATION = re.compile("migration", re.IGNORECASE)
_SAID = re.compile(r"(?:\S+Z )?\S*qemu-system-\S+: (.*)")
"""A line that QEMU has printed, with or without the time in front."""
_NO_ERROR = re.compile("(?:^|: )(?:warning|info): ")


def of_arguments(scenario: Scenario, status: int | None, stderr: str) -> None:
    """Find out whether QEMU did not start because of the scenario's ``qemu_args``.

    A device that cannot migrate is refused as well, which is judged; so is an end by a signal.

    :param status: QEMU's, as of ``subprocess``
    :raise UsageError: it did not; the message is QEMU's own
    """
    if not scenario.qemu_args or status is None or status < 0:
        return
    lines = [found[1] for line in stderr.splitlines() if (found := _SAID.fullmatch(line))]
    said = [words for words in lines if not _NO_ERROR.search(words)]
    reasons = [words.partition(": ")[2] if words.startswith("-") else words for words in said]
    if any(_MIGRATION.search(reason) for reason in reasons):
        return
    last = [line for line in stderr.splitlines() if line.strip()][-1:]
    words = (said or last or [f"QEMU ended with status {status} and printed nothing"])[-1]
    raise UsageError(f"{scenario.name}: qemu_args: {words}")


def of_firmware(binary: Path, names: Sequence[str] = LINUX_FILES) -> None:
    """Require the files that boot a guest in one of the build's data folders (``-L help``).

    :raise CannotRunHere: one is missing
    """
    try:
        said = subprocess.run(
            [binary, "-L", "help"], capture_output=True, timeout=_ASK_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotRunHere(f"{binary}: -L help: {error}") from error
    folders = [Path(line) for line in said.stdout.decode(errors="replace").splitlines()]
    for name in names:
        if not any((folder / name).is_file() for folder in folders):
            raise CannotRunHere(
                f"{binary}: this build has no {name}, which boots a guest: use one that comes "
                "with its firmware (vfio-multifd qemu list)"
            )


def of_memory(needed_bytes: int, scenario: Scenario, proc: Path = Path("/proc/meminfo")) -> None:
    """Require ``needed_bytes`` of memory for the device states that are kept in it.

    :raise CannotRunHere: the machine lacks them, and the kernel's OOM killer would end the run
    """
    fields = dict(line.split(":", 1) for line in proc.read_text().splitlines())
    has_bytes = sum(int(fields[name].split()[0]) << 10 for name in ("MemAvailable", "SwapFree"))
    if needed_bytes > has_bytes:
        raise CannotRunHere(
            f"{scenario.name} keeps {needed_bytes // MIB} MiB of device state in memory, and this "
            f"machine has {has_bytes // MIB} MiB free: use smaller states, or a supervised "
            "data_path"
        )
