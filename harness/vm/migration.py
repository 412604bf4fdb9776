"""The QMP commands of one migration, and how its end is recognised.

Status names are QEMU's MigrationStatus (``qapi/migration.json``).
"""

from collections.abc import Mapping
from typing import Any

from harness.errors import QmpError
from harness.history import Event
from harness.scenario import Scenario, Transport
from harness.vm.credentials import NO_TLS, Setup
from harness.vm.qmp import Monitor
from harness.vm.sockets import DESTINATION

ENDED = frozenset({"completed", "failed", "cancelled"})
UNLIMITED_BYTES_PER_S = 1 << 50
# The state is large and the network is memory: switch over at once, whatever the downtime.
DOWNTIME_LIMIT_MS = 2_000_000


def address(scenario: Scenario) -> dict[str, Any]:
    """The ``addr`` that the destination listens on.

    ``unix`` is a socket in the folder that ``sockets.Sockets`` makes, relative to QEMU's working
    directory.  ``tcp`` is a port on loopback that the kernel chooses and ``query-migrate`` then
    reports; every user of the machine can connect to it.
    """
    if scenario.transport is Transport.TCP:
        return {"transport": "socket", "type": "inet", "host": "127.0.0.1", "port": "0"}
    return {"transport": "socket", "type": "unix", "path": DESTINATION}


def channels(addr: dict[str, Any]) -> dict[str, Any]:
    """Arguments of ``migrate`` and ``migrate-incoming`` for ``addr``."""
    return {"channels": [{"channel-type": "main", "addr": addr}]}


async def configure(
    monitor: Monitor,
    scenario: Scenario,
    tls: Setup = NO_TLS,
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Set capabilities and parameters, the same on both sides except for ``tls``.

    :param defaults: of a QEMU that was in an earlier migration, the parameters at its start; those
        that were changed since then are reset
    :raise QmpError: QEMU refuses; ``lacks`` says whether the build is the reason
    """
    left_on, changed = ({}, {}) if defaults is None else await _left_over(monitor, defaults)
    capabilities = {
        **left_on,
        "events": True,
        "return-path": scenario.return_path,
        "multifd": scenario.multifd,
        **scenario.capabilities,
    }
    await monitor.execute(
        "migrate-set-capabilities",
        {
            "capabilities": [
                {"capability": name, "state": state} for name, state in capabilities.items()
            ]
        },
    )
    parameters: dict[str, Any] = {
        "downtime-limit": DOWNTIME_LIMIT_MS,
        "max-bandwidth": UNLIMITED_BYTES_PER_S,
        "avail-switchover-bandwidth": UNLIMITED_BYTES_PER_S,
    }
    if capabilities["multifd"]:
        parameters["multifd-channels"] = scenario.channels
    for properties in tls.objects:
        await monitor.execute("object-add", properties)
    await monitor.execute(
        "migrate-set-parameters",
        {**changed, **parameters, **tls.parameters, **scenario.parameters},
    )


async def _left_over(
    monitor: Monitor, defaults: Mapping[str, Any]
) -> tuple[dict[str, bool], dict[str, Any]]:
    """Capabilities that are on, to switch off; changed parameters, with their defaults."""
    listed: Any = await monitor.execute("query-migrate-capabilities")
    now = await monitor.execute("query-migrate-parameters")
    left_on = {one["capability"]: False for one in listed if one["state"]}
    return left_on, {name: value for name, value in defaults.items() if now.get(name) != value}


_NOT_BUILT = (
    "does not accept value",  # a capability or a method that the build does not know
    "is unexpected",  # a parameter that it does not know
    "QEMU compiled without",
    "No build-time support",
    "requires GNUTLS",
    "invalid object type",
)
"""Words of QAPI's visitors (qapi/qapi-visit-core.c), of migration/options.c and crypto/."""


def lacks(error: QmpError) -> bool:
    """Whether a command of ``configure`` was refused because the build lacks a feature."""
    return any(words in error.desc for words in _NOT_BUILT)


def statuses(events: list[Event]) -> list[str]:
    """The migration's statuses so far, in order."""
    return [event.args["status"] for event in events if event.name == "MIGRATION"]


def last_status(events: list[Event]) -> str:
    """The last status; empty if there is none."""
    return next(reversed(statuses(events)), "")


def is_stopped(events: list[Event]) -> bool:
    """Whether the last event about the VM is that it was stopped."""
    return _last_word(events) == "STOP"


def is_resumed(events: list[Event]) -> bool:
    """Whether the last event about the VM is that it runs."""
    return _last_word(events) == "RESUME"


def _last_word(events: list[Event]) -> str:
    words = (event.name for event in reversed(events) if event.name in ("STOP", "RESUME"))
    return next(words, "")


def source_end(events: list[Event]) -> str | None:
    """The status with which the source's side ended; None if it has not ended."""
    return next((status for status in statuses(events) if status in ENDED), None)


def destination_end(events: list[Event]) -> str | None:
    """The status with which the destination's side ended; None if it has not ended.

    A running guest is resumed just before the status is ``completed``; a guest that arrives
    paused is not resumed (process_incoming_migration_bh() in migration/migration.c).
    """
    end = source_end(events)
    if end is None and any(event.name == "RESUME" for event in events):
        return "completed"
    return end


def listens_on(source: list[Event], destination: list[Event]) -> bool:
    """Whether the source has failed and the destination still listens.

    It listens if TLS has refused the source's connections: it reports that on its standard error
    and changes no state (migration_tls_incoming_handshake() in migration/tls.c).  So it does if no
    connection has come to it.
    """
    return source_end(source) == "failed" and last_status(destination) == "setup"
