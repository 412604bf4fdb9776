"""What a scenario needs and this build, or this machine, does not have: "cannot run here".

QEMU is asked, not a table of versions: after something was refused, so that what works costs
nothing.  Only what is certainly not there is lacking; whatever else QEMU refuses is its own
decision, and judged.
"""

import re
import subprocess
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from harness.errors import CannotRunHere, QmpError
from harness.history.builds import BuildFacts
from harness.scenario import MIB, Scenario
from harness.vm.qmp import Monitor

LINUX_FILES = ("bios-256k.bin", "linuxboot_dma.bin")
"""What QEMU loads to boot a Linux by ``-kernel`` (hw/i386/x86-common.c)."""
_NO_MEMORY = re.compile(r"cannot set up guest memory|Cannot allocate memory")
_ASK_TIMEOUT_S = 20.0


async def at_set_up(monitor: Monitor, binary: Path, scenario: Scenario) -> None:
    """Find out whether a refusal of the set-up is for lack of something in the build.

    :raise CannotRunHere: it is; says of what
    """
    if scenario.has_tls and not await _makes_credentials(monitor):
        raise CannotRunHere(
            f"{binary}: this build has no TLS, which {scenario.name} needs: use one that was "
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


class _Anything:
    """The values of what is not an enumeration."""

    def __contains__(self, _value: object) -> bool:
        return True


class _Schema:
    """The answer of query-qmp-schema (qapi/introspect.json)."""

    def __init__(self, entities: list[dict[str, Any]]) -> None:
        self._entities = {entity["name"]: entity for entity in entities}

    def accepts(self, command: str) -> Mapping[str, Any]:
        """Of a command that sets things, the names that it takes, each with its values.

        Capabilities are named in a list of records with ``capability`` and ``state``,
        parameters as arguments.
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
    argv: Sequence[str],
    scenario: Scenario,
    words: str,
) -> None:
    """Find out whether QEMU refuses to start for lack of something.

    :param types: that the build knows (qom-list-types)
    :param words: QEMU's
    :raise CannotRunHere: it does; says of what
    """
    for option, value in pairwise(argv):
        name = value.split(",")[0]
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
            f"this machine has not {scenario.ram_mib} MiB of memory for the guest (ram_mib): "
            f"{words}"
        )


def of_firmware(binary: Path, names: Sequence[str] = LINUX_FILES) -> None:
    """Files that a guest is booted with must be in one of the build's data folders (``-L help``).

    :raise CannotRunHere: it is not
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
    """Whether the machine has ``needed_bytes`` for the states that are kept in memory.

    :raise CannotRunHere: it certainly has not; they would end by the kernel's OOM killer
    """
    fields = dict(line.split(":", 1) for line in proc.read_text().splitlines())
    has_bytes = sum(int(fields[name].split()[0]) << 10 for name in ("MemAvailable", "SwapFree"))
    if needed_bytes > has_bytes:
        raise CannotRunHere(
            f"{scenario.name} keeps {needed_bytes // MIB} MiB of device state in memory, and this "
            f"machine has {has_bytes // MIB} MiB free: give it smaller states, or a "
            "data_path that is supervised"
        )
