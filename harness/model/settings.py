"""Which settings the model knows, and which of them QEMU refuses at set-up.

The model demands that a migration completes only if it knows all that was set: the
capabilities, parameters, properties of ``vfio-pci`` and commands below.  With any other one
it demands nothing: neither that the migration completes nor that it is refused.

The facts were read in migration/options.c, migration/migration.c, migration/ram.c and
hw/vfio/migration.c of QEMU 10.0.13 and 10.2.2, and seen on 10.0.13 and 11.1.3.
"""

import enum
import re
from collections.abc import Iterator
from typing import Any

from harness.model import arguments
from harness.scenario import Device, Scenario, Transport
from harness.scenario.action_plan import Execute, Kill, Storm, Target

TRANSFER = "x-migration-multifd-transfer"
LIMIT = "x-migration-max-queued-buffers-size"
ZERO_COPY = "zero-copy-send"

CAPABILITIES = frozenset(
    {
        # Requirements are about these.
        "events", "return-path", "multifd", "mapped-ram", "switchover-ack",
        # The source waits for migrate-continue.
        "pause-before-switchover",
        # They change how RAM is sent, or how fast the guest runs during the migration.
        "xbzrle", "auto-converge",
        # They have no effect here: for postcopy, RDMA, a VM with a UUID, block devices.
        "release-ram", "rdma-pin-all", "validate-uuid", "late-block-activate", "zero-blocks",
        # With these QEMU refuses: see refusals() and refusals_of_vfio().
        "postcopy-ram", "postcopy-preempt", "background-snapshot", "dirty-limit", ZERO_COPY,
    }
)  # fmt: skip
"""Capabilities that may be on.  One that is off is as if it were not given."""
RANGES = {
    "downtime-limit": (0, 2_000_000),
    "multifd-channels": (1, 255),
    "multifd-zlib-level": (0, 9),
    "multifd-zstd-level": (0, 20),
    "multifd-qatzip-level": (1, 9),
    "throttle-trigger-threshold": (1, 100),
    "cpu-throttle-initial": (1, 99),
    "cpu-throttle-increment": (1, 99),
    "announce-initial": (0, 100_000),
    "announce-max": (0, 100_000),
    "announce-rounds": (0, 1000),
    "announce-step": (1, 10_000),
}
"""Parameters that are numbers, with minimum and maximum; QEMU refuses other values
(migrate_params_check())."""
VALUES: dict[str, tuple[str | bool, ...]] = {
    "multifd-compression": ("none", "zlib", "zstd"),
    "zero-page-detection": ("legacy", "multifd"),
    "cpu-throttle-tailslow": (False, True),
    # QEMU refuses the last two here: see refusals_of_cpr().
    "mode": ("normal", "cpr-reboot", "cpr-transfer"),
    "direct-io": (False,),
}
"""Other parameters, with the values that the model knows."""
BANDWIDTHS = ("max-bandwidth", "avail-switchover-bandwidth")
"""Parameters in bytes/s, from 0 up.  QEMU takes a negative value as a very large one."""
SPEED = ("downtime-limit", *BANDWIDTHS)
"""Parameters that may change on either side at any time."""

_SWITCHES: tuple[str | bool, ...] = ("on", "off", "auto", False, True)
PROPERTIES: dict[str, tuple[str | bool, ...]] = {
    TRANSFER: _SWITCHES,
    "enable-migration": _SWITCHES,
    "migration-events": ("on", True),
    "x-device-dirty-page-tracking": _SWITCHES,
    "x-pre-copy-dirty-page-tracking": _SWITCHES,
    "x-migration-load-config-after-iter": _SWITCHES,
    "skip-vsc-check": _SWITCHES,
}
"""Properties of vfio-pci with the values that the model knows; LIMIT may be any number."""

SPLIT_RAM_MIB = 2048
"""A machine with no more RAM has all of it below 4 GiB (pc_q35_init(), pc_init1())."""
LOW_RAM_MIB = 3584
"""One with more has some above."""

COMMANDS = frozenset(
    {
        "qom-get", "qom-list", "qom-list-types", "qom-list-properties", "device-list-properties",
        "stop", "cont", "quit", "migrate_cancel", "migrate-continue", "system_reset",
    }
)  # fmt: skip
"""Commands whose effect is known, besides those of ``_QUERIES`` and a change of SPEED."""
_QUERIES = ("query-", "x-query-")
_MAX_U64 = (1 << 64) - 1
_POSTCOPY_WITH_MULTIFD = (10, 1)
"""Older ones refuse both capabilities together."""


def unknown(scenario: Scenario) -> Iterator[str]:
    """What the model does not know of ``scenario``, each in words."""
    for name, is_on in capabilities(scenario).items():
        if name == "events" and not is_on:
            yield "capability events off"
        elif (
            is_on
            and name == ZERO_COPY
            and not (_refuses_zero_copy(scenario) or works_with_zero_copy(scenario))
        ):
            yield f"capability {name} with these settings: it needs transport tcp, and no guest"
        elif is_on and name not in CAPABILITIES:
            yield f"capability {name}"
    if capabilities(scenario)["return-path"] is not scenario.return_path:
        yield "capability return-path besides return_path"
    for name, value in scenario.parameters.items():
        if name == "multifd-channels" and value != scenario.channels:
            yield f"parameter {name}={value} besides channels={scenario.channels}"
        elif name not in RANGES and not _is_known_value(name, value):
            yield f"parameter {name}={value}"
    yield from arguments.unknown(scenario)
    for device in scenario.devices:
        yield from _unknown_properties(device)
    if has_cpr(scenario) and (not scenario.devices or scenario.tls_mismatch is not None):
        yield f"parameter mode={scenario.parameters['mode']} with these devices or this TLS"
    yield from _unknown_actions(scenario)
    if SPLIT_RAM_MIB < scenario.ram_mib <= LOW_RAM_MIB:
        for each in scenario.emulated:
            if each.dma.max_ranges is not None:
                yield f"dma.max_ranges of {each.id} with {scenario.ram_mib} MiB of RAM"


def capabilities(scenario: Scenario) -> dict[str, bool]:
    """The capabilities that both sides get."""
    return {
        "events": True,
        "return-path": scenario.return_path,
        "multifd": scenario.multifd,
        **scenario.capabilities,
    }


def has(scenario: Scenario, capability: str) -> bool:
    """Whether ``capability`` is on."""
    return capabilities(scenario).get(capability, False)


def has_compression(scenario: Scenario) -> bool:
    """Whether multifd compresses (``multifd-compression``: zlib, zstd, qpl, uadk, qatzip)."""
    return str(scenario.parameters.get("multifd-compression", "none")) != "none"


def works_with_zero_copy(scenario: Scenario) -> bool:
    """Whether the model knows that zero-copy-send works.

    The kernel has it for TCP.  It limits how much one socket has on its way
    (``net.core.optmem_max``), and older QEMUs fail at that limit
    (qio_channel_socket_writev() in io/channel-socket.c): a guest that has written no RAM stays far
    below.
    """
    return (
        has(scenario, ZERO_COPY)
        and not _refuses_zero_copy(scenario)
        and scenario.transport is Transport.TCP
        and not has(scenario, "mapped-ram")
        and scenario.guest is None
    )


def has_cpr(scenario: Scenario) -> bool:
    """Whether the migration is one of CPR (``mode`` is not ``normal``)."""
    return str(scenario.parameters.get("mode", "normal")) != "normal"


def refusals(scenario: Scenario, oldest: tuple[int, ...]) -> Iterator[str]:
    """Parts of the errors of ``migrate-set-capabilities`` or ``migrate-set-parameters``.

    Mostly both sides refuse.  migrate_caps_check() and migrate_params_check() in
    migration/options.c.

    :param oldest: the older version of both sides
    """
    yield from _refused_combinations(scenario, oldest)
    for name, value in scenario.parameters.items():
        if name in RANGES and not _is_within(value, RANGES[name]):
            yield name


def is_about_a_value(words: str) -> bool:
    """Whether ``words`` of ``refusals`` are about one parameter that is out of its range."""
    return words in RANGES


def _refused_combinations(scenario: Scenario, oldest: tuple[int, ...]) -> Iterator[str]:
    on = {name for name, is_on in capabilities(scenario).items() if is_on}
    if ZERO_COPY in on and _refuses_zero_copy(scenario):
        yield "Zero copy only available"
    if "multifd" in on and "xbzrle" in on:
        yield "Multifd is not compatible with xbzrle"
    if "mapped-ram" in on and "xbzrle" in on:
        yield "Mapped-ram migration is incompatible with xbzrle"
    if "mapped-ram" in on and "postcopy-ram" in on:
        yield "Mapped-ram migration is incompatible with postcopy"
    if "postcopy-ram" in on and "multifd" in on and oldest < _POSTCOPY_WITH_MULTIFD:
        yield "postcopy"
    if "postcopy-preempt" in on and "postcopy-ram" not in on:
        yield "Postcopy preempt requires postcopy-ram"
    if "switchover-ack" in on and "return-path" not in on:
        yield "'switchover-ack' requires"
    if "dirty-limit" in on:  # the VM has no KVM, and so no dirty ring
        yield "dirty-limit"


def refusals_of_vfio(scenario: Scenario) -> Iterator[str]:
    """Parts of the errors of ``migrate`` for what VFIO does not support.

    vfio_save_prepare() in hw/vfio/migration.c.  With other capabilities, or on a host without
    support, ``migrate-set-capabilities`` is refused instead; its error names the capability too.
    """
    if has(scenario, "postcopy-ram"):
        yield "postcopy"
    if has(scenario, "background-snapshot"):
        yield "background snapshot"


class Differs(enum.Enum):
    """What it means that a value differs between the sides."""

    FREELY = "freely"
    """Nothing: each side has its own."""
    SETTING = "setting"
    """The migration completes, or is refused on both sides (SET-10)."""
    DEVICE = "device"
    """The destination refuses it (ORD-9)."""
    UNKNOWN = "unknown"
    """The model does not know."""


_OWN_SETTINGS = frozenset({"channels", "multifd", "return_path", "machine", "ram_mib"})
_OF_DEVICES = {
    Differs.SETTING: frozenset(
        {"multifd_transfer", *(f"properties.{name}" for name in (*PROPERTIES, LIMIT))}
    ),
    Differs.DEVICE: frozenset(
        {
            "", "bar_size", "vendor_id", "device_id", "subsystem_vendor_id", "subsystem_id",
            "vendor_capability",
        }
    ),
    # How the harness serves it.
    Differs.FREELY: frozenset({"data_path", "reported_size"}),
}  # fmt: skip
_OF_NAMES = {
    "parameters": {
        # Of the source alone, or of what each side does by itself.
        Differs.FREELY: frozenset(
            {
                *SPEED,
                "multifd-zlib-level", "multifd-zstd-level", "multifd-qatzip-level",
                "throttle-trigger-threshold", "cpu-throttle-initial", "cpu-throttle-increment",
                "cpu-throttle-tailslow",
                "announce-initial", "announce-max", "announce-rounds", "announce-step",
            }
        ),
        # The destination reads what is flagged in the packets of RAM: it refuses another
        # compression (multifd_nocomp_recv(), multifd_zlib_recv(), multifd_zstd_recv()), and takes
        # zero pages in both ways (ram_load_precopy(), multifd_recv_zero_page_process()).
        Differs.SETTING: frozenset({"multifd-compression", "zero-page-detection"}),
    },
    "capabilities": {
        Differs.FREELY: frozenset({"auto-converge", "late-block-activate", "zero-blocks"}),
        Differs.SETTING: frozenset(
            {"multifd", "xbzrle", "switchover-ack", "release-ram", "validate-uuid", ZERO_COPY}
        ),
    },
}  # fmt: skip
"""Of parameters and of capabilities: what a difference means.  One that is not here is unknown."""
_DEVICE = re.compile(r"devices\[\d+\](?:\.(.*))?")


def kind_of(place: str) -> Differs:
    """What it means that the value at ``place`` of a scenario differs (``Scenario.differing``)."""
    if match := _DEVICE.fullmatch(place):
        name = match[1] or ""
        return next((kind for kind, names in _OF_DEVICES.items() if name in names), Differs.UNKNOWN)
    if place in _OWN_SETTINGS:
        return Differs.SETTING
    if place == "memory_limit_mib":
        return Differs.FREELY
    field, _, name = place.partition(".")
    kinds = _OF_NAMES.get(field, {}).items()
    return next((kind for kind, names in kinds if name in names), Differs.UNKNOWN)


def refusals_of_cpr(scenario: Scenario) -> Iterator[str]:
    """Parts of the errors of ``migrate``, or of its set-up, for a mode of CPR.

    qmp_migrate(), migrate_prepare() and migration_transport_compatible() in migration/migration.c.
    For cpr-reboot the guest must be suspended, which it is not here: vfio_cpr_reboot_notifier() in
    hw/vfio/cpr.c refuses it once the source has connected.  The harness has no channel for
    cpr-transfer.
    """
    mode = scenario.parameters.get("mode")
    if not has_cpr(scenario):
        return
    if has(scenario, "postcopy-ram"):
        yield "Cannot use postcopy with CPR"
    if has(scenario, "background-snapshot"):
        yield "Cannot use background snapshot with CPR"
    if mode == "cpr-transfer":
        yield "missing 'cpr' migration channel"
        yield "requires streamable transport"
    if mode == "cpr-reboot":
        yield "cpr-reboot for runstate suspended"


def is_said(words: str, text: str) -> bool:
    """Whether QEMU's ``text`` contains ``words``.

    Case, ``-`` and ``_`` are ignored: QEMU prints downtime-limit and downtime_limit.
    """
    return _plain(words) in _plain(text)


def _plain(text: str) -> str:
    return text.lower().replace("-", " ").replace("_", " ")


def _refuses_zero_copy(scenario: Scenario) -> bool:
    """Whether zero-copy-send conflicts with the other settings."""
    is_encoded = has_compression(scenario) or scenario.has_tls or has(scenario, "xbzrle")
    return is_encoded or not has(scenario, "multifd")


def _is_known_value(name: str, value: object) -> bool:
    if name in BANDWIDTHS:
        return _is_within(value, (0, _MAX_U64))
    return _is_one_of(value, VALUES.get(name, ()))


def _is_one_of(value: object, known: tuple[str | bool, ...]) -> bool:
    return any(value == one and type(value) is type(one) for one in known)


def _is_within(value: object, limits: tuple[int, int]) -> bool:
    least, most = limits
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _unknown_properties(device: Device) -> Iterator[str]:
    for name, value in device.properties.items():
        is_limit = name == LIMIT and not isinstance(value, bool) and str(value).isdecimal()
        if not is_limit and not _is_one_of(value, PROPERTIES.get(name, ())):
            yield f"property {name}={value} of {device.id}"


def _unknown_actions(scenario: Scenario) -> Iterator[str]:
    goes_on = not has(scenario, "pause-before-switchover")
    for action in scenario.actions:
        goes_on = goes_on or isinstance(action, Kill)
        if isinstance(action, Storm):
            yield from (
                f"command {command} in a storm"
                for command in action.commands
                if not _is_known_command(command, {})
            )
        elif isinstance(action, Execute):
            is_stop = action.effect in ("migrate-continue", "migrate_cancel", "quit")
            goes_on = goes_on or (is_stop and action.target is Target.SOURCE)
            # One that must be refused has no effect; RUN reports it if it is accepted.
            if action.refused_with is None and not _is_known_command(
                action.effect, action.arguments
            ):
                names = f" of {', '.join(action.arguments)}" if action.arguments else ""
                yield f"command {action.command}{names} to the {action.target}"
    if not goes_on:
        yield "capability pause-before-switchover without an action that goes on"


def _is_known_command(command: str, arguments: dict[str, Any]) -> bool:
    if command == "migrate-set-parameters":
        return all(
            name in SPEED and (_is_within(value, RANGES.get(name, (0, _MAX_U64))))
            for name, value in arguments.items()
        )
    return command in COMMANDS or command.startswith(_QUERIES)
