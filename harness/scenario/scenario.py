"""A **scenario** says what to run; it round-trips to JSON.

Plain frozen data: nothing here opens, starts or judges anything.  Sizes are bytes,
times are seconds, unless a name says otherwise.
"""

import enum
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import UsageError
from harness.scenario import fault_plan, ranges, sides, strict_json
from harness.scenario.action_plan import ActionPlan, Suspend
from harness.scenario.devices import Device, EmulatedDevice
from harness.scenario.fault_plan import FaultPlan
from harness.scenario.guest_plan import Guest
from harness.scenario.pci_address import repeated
from harness.scenario.tls import TLS_TRACE, Tls, TlsMismatch, needs

MAX_CHANNELS = 255  # multifd-channels is a uint8 (QEMU qapi/migration.json)
LONGEST = 16 << 20  # bytes of a scenario's file: /dev/zero has no end


class Transport(enum.StrEnum):
    """What carries the migration."""

    UNIX = "unix"
    """Sockets in the run directory, which only its owner can enter."""
    TCP = "tcp"
    """A port on loopback, which every user of the machine can connect to."""
    FILE = "file"
    """The source writes a file, which the destination reads afterwards (needed by mapped-ram)."""


PENDING_TRACE = ("migrate_pending_*", "migrate_transferred*", "qemu_savevm_query_pend*")
"""Patterns of the trace events of what pre-copy has pending and how much is allowed.

QEMU accepts a pattern with an asterisk even if no event of the build matches it.
"""


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to run: two QEMUs, devices, channels, migration settings, a seed."""

    name: str
    devices: tuple[Device, ...] = (EmulatedDevice(id="vfio0"),)
    qemu: str = ""
    """Path of the source QEMU; empty for the one that the machine has (``vm.builds``)."""
    qemu_dst: str = ""
    """Path of the destination QEMU; empty for the source's."""
    machine: str = "q35"
    qemu_args: tuple[str, ...] = ()
    """More arguments of both QEMUs, in front of the devices: a vIOMMU, ports, disks.  QEMU's
    working directory is the run directory, so that paths must be absolute."""
    ram_mib: ranges.RamMib = 64
    guest: Guest | None = None
    """The guest that is migrated; None if the CPU halts at once, and the harness sets up the
    devices as firmware and a driver would."""
    multifd: bool = True
    channels: ranges.Channels = 4
    """multifd-channels."""
    capabilities: dict[str, bool] = {}
    """Migration capabilities of both sides, besides ``events``, ``multifd``, ``return-path``."""
    return_path: bool = True
    parameters: dict[str, Any] = {}
    """Migration parameters (migrate-set-parameters) of both sides."""
    transport: Transport = Transport.UNIX
    tls: Tls = Tls.NONE
    """On all channels, with credentials that are made for each run."""
    tls_mismatch: TlsMismatch | None = None
    """What is wrong between the credentials of the two sides; None if nothing is."""
    deadline_s: ranges.Deadline = 15.0
    """From ``migrate`` to the end of both sides; what does not end by then is a finding."""
    standstill_s: ranges.Delay = 2.0
    """How long nothing moves, on either side, before a migration that ought to move is a hang and
    is waited for no longer; 0 to wait until ``deadline_s`` all the same, for a debugger."""
    memory_limit_mib: ranges.LimitMib = 0
    """RLIMIT_DATA of each QEMU; 0 for the sum of its RAM, twice the state and 4 GiB."""
    interrupt_line: bool = False
    """Whether the guest also writes PCI_INTERRUPT_LINE, as firmware does.  The device keeps
    this register for the guest (vfio_pci_config.c virtualizes it).  QEMU sends it but does not
    write it back, which is a known deviation of ORD-4."""
    trace: tuple[str, ...] = ("vfio_*", "multifd_*")
    """Patterns of trace events to enable, besides ``PENDING_TRACE`` and, with ``tls``,
    ``TLS_TRACE``.  Empty for no trace; requirements that need one are UNKNOWN then."""
    seed: int = 0
    relay: bool = False
    """Whether a relay is between the two QEMUs and records each packet; with ``faults`` there
    always is."""
    faults: FaultPlan = ()
    """What is done to device-state packets on their way."""
    actions: ActionPlan = ()
    """What is done to the QEMUs while they migrate."""
    destination: dict[str, Any] | None = None
    """What differs at the destination: fields of a scenario with their values there
    (``scenario.sides``); None if both sides are alike."""
    then: tuple["Scenario", ...] = ()
    """The migrations that follow.  Each migrates the QEMU that runs the guest by then into a new
    one.  If it names no QEMU, that is the destination QEMU of the migration before.  Of
    an emulated device ``save``, ``load``, ``refuses`` and ``data_fds`` may differ in each."""

    def __post_init__(self) -> None:
        ids = [device.id for device in self.devices]
        twice = repeated(address for device in self.devices for address in device.addresses)
        checks = (
            (bool(self.name), "name is empty"),
            (len(set(ids)) == len(ids), f"device ids are not unique: {', '.join(ids)}"),
            (1 <= self.channels <= MAX_CHANNELS, f"channels is {self.channels}, not 1 to 255"),
            (self.ram_mib >= 16, f"ram_mib is {self.ram_mib}, below 16"),
            (self.deadline_s > 0, f"deadline_s is {self.deadline_s}, not above 0"),
            (
                not self.has_relay or self.transport is not Transport.FILE,
                "a migration through a file has no relay",
            ),
            (not self.faults or self.multifd, "faults are about multifd channels; multifd is off"),
            (
                all(self._hardware == each._hardware for each in self.then),
                "then must have the same devices, machine, qemu_args, ram_mib and guest",
            ),
            (
                not any(each.then for each in self.then),
                "then is the list of all migrations that follow: one of them has its own",
            ),
            *_guest_needs(self),
            *(self._needs_of(fault) for fault in self.faults),
            *(
                (
                    fault.accepted <= self.channels,
                    f"{fault.describe()}: it has no more than {1 + self.channels}",
                )
                for fault in self.faults
                if isinstance(fault, fault_plan.RefuseConnection)
            ),
            *needs(
                self.tls,
                self.tls_mismatch,
                has_sockets=self.transport is not Transport.FILE,
                faults=self.faults,
            ),
            *(
                check
                for device in self.devices
                for check in device.problems(has_guest=self.guest is not None)
            ),
            *(
                device.dma.within(device.id, self.ram_mib)
                for device in self.devices
                if isinstance(device, EmulatedDevice)
            ),
            (
                not self.then or not any(device.interrupts.is_used for device in self.emulated),
                "interrupts are for a scenario of one migration: then must be empty",
            ),
            (
                self.guest is None
                or self.has_linux
                or not any(device.interrupts.is_used for device in self.emulated),
                "interrupts need a guest that is a Linux, or none",
            ),
            (
                self.guest is None or not any(isinstance(each, Suspend) for each in self.actions),
                "suspend is what the harness does in place of a guest: there is one",
            ),
            (not _shared(self.devices), "two devices have the same page in dma"),
            (not twice, f"device {twice} is there twice; only one QEMU at a time can have it"),
        )
        if wrong := [message for is_right, message in checks if not is_right]:
            raise ValueError("; ".join(wrong))
        there = self.at_destination
        if self.then and there._hardware != self._hardware:
            raise ValueError("destination has other hardware: no migration can follow in then")

    @property
    def has_zero_copy(self) -> bool:
        """Whether RAM is to be sent with MSG_ZEROCOPY."""
        return self.capabilities.get("zero-copy-send", False)

    @property
    def at_destination(self) -> "Scenario":
        """What the destination is given: this, with what ``destination`` says instead."""
        return self if self.destination is None else _at_destination(self, self.destination)

    @property
    def differing(self) -> tuple[str, ...]:
        """What differs at the destination: ``channels``, ``devices[0].bar_size``; see ``sides``."""
        if self.destination is None:
            return ()
        ours = msgspec.structs.replace(self, destination=None, then=())
        both = (msgspec.to_builtins(each) for each in (ours, self.at_destination))
        return tuple(sides.differing(*both))

    @property
    def _hardware(self) -> tuple[object, ...]:
        devices = tuple(device.hardware for device in self.devices)
        return devices, self.machine, self.qemu_args, self.ram_mib, self.guest

    def _needs_of(self, fault: fault_plan.Fault) -> tuple[bool, str]:
        """Whether ``fault`` can come to its moment here, and what it needs."""
        until = getattr(fault, "until", None)
        waits_for_device = until is not None and (until.loaded or until.told == "loaded")
        return (
            not waits_for_device or all(device.is_supervised for device in self.devices),
            f"{fault.describe()}: only a device with data_path=supervised reports what it has "
            "loaded",
        )

    def migrations(self) -> "tuple[Scenario, ...]":
        """All migrations in their order: this one, and those that follow.  ``then`` of each has
        the rest, and its QEMUs are those of the migration before where it names none.
        """
        found = [self]
        for number, each in enumerate(self.then, 1):
            heir = found[-1].qemu_dst or found[-1].qemu
            source = each.qemu or heir
            found.append(
                msgspec.structs.replace(
                    each, qemu=source, qemu_dst=each.qemu_dst or source, then=self.then[number:]
                )
            )
        return tuple(found)

    def with_each(self, change: "Callable[[Scenario], Scenario]") -> "Scenario":
        """This scenario with each of its migrations changed, in their order."""
        alone = msgspec.structs.replace(self, then=())
        first, *following = [change(each) for each in (alone, *self.then)]
        return msgspec.structs.replace(first, then=tuple(following))

    @property
    def has_tls(self) -> bool:
        """Whether at least one side uses TLS."""
        return self.tls is not Tls.NONE

    @property
    def trace_patterns(self) -> tuple[str, ...]:
        """Patterns of trace events to enable: of the scenario, of pre-copy, of TLS."""
        if not self.trace:
            return ()
        return (*self.trace, *PENDING_TRACE, *(TLS_TRACE if self.has_tls else ()))

    @property
    def has_relay(self) -> bool:
        """Whether a relay is between the two QEMUs."""
        return self.relay or bool(self.faults)

    @property
    def emulated(self) -> tuple[EmulatedDevice, ...]:
        """The devices that the harness emulates."""
        return tuple(device for device in self.devices if isinstance(device, EmulatedDevice))

    @property
    def has_linux(self) -> bool:
        """Whether a Linux runs in the guest."""
        guest = self.guest
        return guest is not None and guest.is_linux(self.devices)

    @property
    def state_size(self) -> int:
        """Bytes of state of the devices that the harness knows it of."""
        return sum(device.total_size or 0 for device in self.devices)


def _shared(devices: tuple[Device, ...]) -> bool:
    """Whether two devices write the same page."""
    pages = [
        page
        for device in devices
        if isinstance(device, EmulatedDevice)
        for page in device.dma.addresses
    ]
    return len(set(pages)) < len(pages)


def _at_destination(scenario: Scenario, own: dict[str, Any]) -> Scenario:
    alone = msgspec.structs.replace(scenario, destination=None, then=())
    try:
        raw = sides.merged(msgspec.to_builtins(alone), own)
        return msgspec.convert(raw, Scenario)
    except msgspec.ValidationError as error:
        words = strict_json.explained(str(error), raw, Scenario)
        raise ValueError(f"destination: {words}") from error
    except ValueError as error:
        raise ValueError(f"destination: {error}") from error


def _guest_needs(scenario: Scenario) -> Iterator[tuple[bool, str]]:
    """What a guest needs to run, and to find its devices' contents again."""
    guest = scenario.guest
    if guest is None:
        return
    yield from guest.needs(scenario.ram_mib, has_linux=scenario.has_linux)
    yield (
        not scenario.interrupt_line,
        "interrupt_line is what the harness does in place of a guest: there is one",
    )


def to_json(scenario: Scenario) -> bytes:
    """The scenario as indented JSON; defaults are written out, so that it can be edited."""
    return msgspec.json.format(msgspec.json.encode(scenario), indent=2) + b"\n"


def from_json(data: bytes, origin: str = "scenario") -> Scenario:
    """The scenario in ``data``.

    :raise UsageError: it is not JSON, or not a scenario; names ``origin`` and the field
    """
    try:
        found: Scenario = strict_json.decode(data, Scenario, _with_list)
    except ValueError as error:
        raise UsageError(f"{origin}: not a scenario: {error}") from error
    return found


def _with_list(raw: object) -> object:
    """``raw``, a scenario in JSON, with a list of the migrations that follow.  In files of
    earlier versions ``then`` is null, or the second migration, with the third in its ``then``.
    """
    if not isinstance(raw, dict) or isinstance(raw.get("then", []), list):
        return raw
    following = []
    each = raw["then"]
    while isinstance(each, dict):
        following.append({name: value for name, value in each.items() if name != "then"})
        each = each.get("then")
    return raw if each is not None else {**raw, "then": following}


def load(path: Path) -> Scenario:
    """The scenario in the file at ``path``.

    :raise UsageError: it cannot be read or is not a scenario
    """
    try:
        with path.open("rb") as file:
            data = file.read(LONGEST + 1)
        if len(data) > LONGEST:
            raise UsageError(f"{path}: not a scenario: it is longer than {LONGEST >> 20} MiB")
        return from_json(data, str(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot read the scenario: {error.strerror}") from error
