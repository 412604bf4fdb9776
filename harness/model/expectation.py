"""What a correct QEMU does with a scenario: how it ends, on which path each device's
state travels, and in which packets.

The requirements are SET-1 to SET-3, SET-8 and ORD-5; the facts are from QEMU 10.0.13, and
each names its place there.  Texts of errors are QEMU's own, cut to the part that has been the
same since 10.0; case is ignored.

Nothing is demanded of a scenario with a setting that the model does not know (``settings``).

Not for judging: queue limits (``x-migration-max-queued-buffers-size``), several
migrations in one run.
"""

import enum
import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from harness.history.builds import BuildFacts
from harness.history.records import Side
from harness.model import arguments, buffers, device_arcs, info_v2, settings
from harness.model.settings import TRANSFER, has_compression
from harness.scenario import (
    Abilities,
    Device,
    EmulatedDevice,
    OnOffAuto,
    Scenario,
    Transport,
)
from harness.scenario.fault_plan import RefuseConnection

FIRST_MACHINE = (10, 0)
"""Older machine types have the transfer off and send no switchover-start message
(hw/core/machine.c hw_compat_9_2: vfio-pci x-migration-multifd-transfer and migration
send-switchover-start, both off)."""

UNSUPPORTED = "Multifd device transfer requested but unsupported in the current config"
NOT_IN_KERNEL = "migration is not supported in kernel"
DISABLED = "Migration is disabled for VFIO device"
NO_DIRTY_TRACKING = "VFIO device doesn't support device and IOMMU dirty tracking"
NEEDS_P2P = "Multiple VFIO devices migration is supported only if all of them support P2P"
SKIP_CHECK = "skip-vsc-check"
_VIOMMU_WITHOUT_LOG = (11, 0)
MULTI_CHANNEL = "Migration requires multi-channel URIs"
SEEKABLE = "Migration requires seekable transport"


class Ending(enum.StrEnum):
    """How a correct QEMU ends a scenario."""

    COMPLETED = "completed"
    REFUSED_AT_SETUP = "refused at setup"
    """A command or the set-up phase fails with a reason, before any state is sent."""
    HANDSHAKE_REFUSED = "refused by TLS"
    """The source's connections are refused: the source fails before any state is sent, and the
    destination fails too or waits for another source."""
    CONNECTION_REFUSED = "a connection is refused"
    """The relay refuses a connection of the source: the source fails before any state is sent, and
    the destination fails too, or waits for another source if nothing has come to it (LIF-14)."""
    BLOCKED = "blocked"
    """``migrate`` is refused because of a device that cannot migrate."""
    LAUNCH_REFUSED = "launch refused"
    """QEMU does not start with such a device."""
    DEVICE_ERROR = "device error"
    """The device fails a read or a write: the migration fails."""
    REFUSED_IN_LOAD = "refused in load"
    """The destination refuses what it was given; of a run with faults on the way."""
    WAITING = "waits for a packet"
    """The destination waits for what was not delivered; of a run with faults on the way."""
    STOPPED = "stopped by an action"
    """It was killed or cancelled while it was active: LIF-3 and LIF-4 judge how it ends."""
    SIDES_DIFFER = "refused, or completed"
    """Settings differ between the sides: the migration completes, or both sides fail."""
    DEVICE_REFUSED = "refused because of another device"
    """A destination device differs: the destination refuses it, so both sides fail."""
    REINIT_LATE = "failed, or completed"
    """New initial bytes of a device may come when the switchover is decided."""
    NOT_CONVERGED = "pre-copy did not converge"
    """The source was still in pre-copy, and making progress, at the deadline."""
    OPEN = "open"
    """What was delivered allows several ends, and none of them was seen; of a run with faults on
    the way."""
    NOT_JUDGED = "not judged"
    """The model does not know a setting or a command: any end except a crash may be right."""


class TransferPath(enum.StrEnum):
    """What carries the device's stop-copy state."""

    MULTIFD = "multifd"
    MAIN = "main"


class DeviceExpectation(msgspec.Struct, frozen=True, kw_only=True):
    """What one device's state does."""

    id: str
    path: TransferPath
    total_bytes: int | None
    """All that the device gives, in pre-copy and in stop-copy; None if only it knows."""
    buffer_size: int
    """Most bytes of one ``read()``: min(1 MiB, what MIG_DATA_SIZE answers at set-up)."""
    buffer_sizes: tuple[int, ...] | None
    """Bytes of each data packet; None if the size is not known, or pre-copy takes a share that
    cannot be predicted."""

    abilities: Abilities = Abilities()

    @property
    def data_packets(self) -> int | None:
        """How many data packets there are: also the index of the configuration packet."""
        return None if self.buffer_sizes is None else len(self.buffer_sizes)


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """What a correct QEMU does with one scenario."""

    ending: Ending
    reasons: tuple[str, ...] = ()
    """Parts of error texts, one of which must be seen; of NOT_JUDGED what the model does not
    know; empty when completed."""
    refused_by: Side | None = None
    """Which side refuses or fails; None if none does, or either may be first."""
    devices: tuple[DeviceExpectation, ...] = ()
    is_supported: bool = True
    """Whether the settings let device state go over multifd at all."""
    machine: tuple[int, int] | None = None
    """Version of the machine type; None if it is not known, and taken for a current one."""

    @property
    def reason(self) -> str:
        """The reasons in one line."""
        joint = ", " if self.ending is Ending.NOT_JUDGED else " or "
        return joint.join(self.reasons)

    def is_reason(self, text: str) -> bool:
        """Whether QEMU's ``text`` has one of the reasons."""
        return any(settings.is_said(reason, text) for reason in self.reasons)

    def device(self, device_id: str) -> DeviceExpectation:
        """The expectation of the device ``device_id``."""
        return next(device for device in self.devices if device.id == device_id)

    @property
    def multifd_devices(self) -> tuple[DeviceExpectation, ...]:
        """The devices whose state goes over multifd."""
        return tuple(d for d in self.devices if d.path is TransferPath.MULTIFD)


def expect(
    scenario: Scenario,
    source: BuildFacts,
    destination: BuildFacts,
    reported: Mapping[str, Abilities] | None = None,
) -> Expectation:
    """What a correct QEMU does with ``scenario``.

    :param reported: abilities of the kernel's devices, by their ids, as far as the kernel
        reported them
    """
    if scenario.destination is not None:
        return _of_sides(scenario, source, destination, reported)
    abilities = {device.id: _abilities(device, reported or {}) for device in scenario.devices}
    machine = machine_version(source.machine or scenario.machine)
    supported = is_supported(scenario, machine)
    paths = [_path(device, source, supported, machine) for device in scenario.devices]
    devices = tuple(
        _device(device, path or TransferPath.MULTIFD, abilities[device.id])
        for device, path in zip(scenario.devices, paths, strict=True)
    )
    oldest = min(source.version, destination.version)
    unknown = [
        *settings.unknown(scenario),
        *device_arcs.unknown(scenario),
        *info_v2.not_known(scenario, source, destination),
    ]
    ending, reasons, side = _end(
        (
            [(Ending.NOT_JUDGED, what, None) for what in unknown],
            _launch_refusals(scenario, source, destination, abilities),
            [
                (Ending.REFUSED_AT_SETUP, words, None)
                for words in settings.refusals(scenario, oldest)
            ],
            _transport_refusals(scenario),
            _blockers(scenario, abilities, source),
            _refusals(scenario),
            _refused_connection(scenario),
            _refused_handshake(scenario),
            _refused_transfer(scenario, paths),
            [
                *_device_errors(scenario),
                *_log_errors(scenario, abilities),
                *((Ending.DEVICE_ERROR, "", side) for side in device_arcs.failing(scenario)),
                *_impossible_sizes(scenario),
                *_refused_vectors(scenario),
            ],
            [(Ending.REINIT_LATE, "", None) for _ in info_v2.late(scenario, source)],
        )
    )
    return Expectation(
        ending=ending,
        reasons=reasons,
        refused_by=side,
        devices=devices,
        is_supported=supported,
        machine=machine,
    )


def _of_sides(
    scenario: Scenario,
    source: BuildFacts,
    destination: BuildFacts,
    reported: Mapping[str, Abilities] | None,
) -> Expectation:
    """What a correct QEMU does where the destination is given something else."""
    alone = msgspec.structs.replace(scenario, destination=None)
    ours, theirs = (
        expect(each, source, destination, reported) for each in (alone, scenario.at_destination)
    )
    found = [(settings.kind_of(place), place) for place in scenario.differing]
    kinds = {kind for kind, _ in found if kind is not settings.Differs.FREELY}
    not_known = [place for kind, place in found if kind is settings.Differs.UNKNOWN]
    if settings.Differs.DEVICE in kinds:
        not_known += [place for kind, place in found if kind is settings.Differs.SETTING]
        not_known += _not_compared(scenario)
    refuses = theirs.ending is Ending.REFUSED_AT_SETUP and UNSUPPORTED in theirs.reasons
    for each in (ours, theirs):
        if each.ending is Ending.NOT_JUDGED:
            return each
        if each.ending is not Ending.COMPLETED and not (each is theirs and refuses):
            not_known.append(f"destination with a scenario that is {each.ending}")
    if scenario.faults and kinds:
        not_known.append("destination with faults")
    if not_known:
        reasons = tuple(dict.fromkeys(f"destination.{place}" for place in not_known))
        return msgspec.structs.replace(ours, ending=Ending.NOT_JUDGED, reasons=reasons)
    if settings.Differs.DEVICE in kinds:
        ending = Ending.DEVICE_REFUSED
        return msgspec.structs.replace(ours, ending=ending, refused_by=Side.DESTINATION)
    return msgspec.structs.replace(ours, ending=Ending.SIDES_DIFFER) if kinds else ours


def _not_compared(scenario: Scenario) -> Iterator[str]:
    """Vendor capabilities that QEMU does not compare: with skip-vsc-check, which is on unless
    the machine type is old (vfio_add_vendor_specific_cap() in hw/vfio/pci.c).
    """
    there = scenario.at_destination
    for number, device in enumerate(there.devices):
        place = f"devices[{number}].vendor_capability"
        is_checked = _on_off_auto(device.properties.get(SKIP_CHECK, True)) is OnOffAuto.OFF
        if place in scenario.differing and not is_checked:
            yield f"{place} with {SKIP_CHECK}"


def machine_version(machine: str) -> tuple[int, int] | None:
    """The version in a machine type's name, as in ``pc-q35-9.2``."""
    match = re.search(r"-(\d+)\.(\d+)$", machine)
    return (int(match[1]), int(match[2])) if match else None


def has_multifd(scenario: Scenario) -> bool:
    """Whether the ``multifd`` capability is on."""
    return settings.has(scenario, "multifd")


def has_mapped_ram(scenario: Scenario) -> bool:
    """Whether the ``mapped-ram`` capability is on."""
    return settings.has(scenario, "mapped-ram")


def is_supported(scenario: Scenario, machine: tuple[int, int] | None) -> bool:
    """Whether device state may go over multifd.

    multifd_device_state_supported() in migration/multifd-device-state.c, together with
    migrate_send_switchover_start() as asked by vfio_multifd_transfer_supported().
    """
    return (
        has_multifd(scenario)
        and not has_mapped_ram(scenario)
        and not has_compression(scenario)
        and (machine is None or machine >= FIRST_MACHINE)
    )


def _abilities(device: Device, reported: Mapping[str, Abilities]) -> Abilities:
    return device.abilities or reported.get(device.id, Abilities())


def transfer_setting(device: Device) -> OnOffAuto | None:
    """x-migration-multifd-transfer of ``device``; None if the machine type decides."""
    value = device.properties.get(TRANSFER, device.multifd_transfer)
    return None if value is None else _on_off_auto(value)


def migration_setting(device: Device) -> OnOffAuto:
    """enable-migration of ``device``."""
    return _on_off_auto(device.properties.get("enable-migration", device.enable_migration))


def _on_off_auto(value: str | int | bool) -> OnOffAuto:
    if isinstance(value, bool):
        return OnOffAuto.ON if value else OnOffAuto.OFF
    known = value in tuple(OnOffAuto)
    return OnOffAuto(str(value)) if known else OnOffAuto.AUTO  # then nothing is judged


def _path(
    device: Device, facts: BuildFacts, supported: bool, machine: tuple[int, int] | None
) -> TransferPath | None:
    """The path of ``device``'s state; None if the transfer is on and not supported.

    vfio_multifd_setup() in hw/vfio/migration-multifd.c; the property's own default is
    auto, the machine type's is off up to 9.2.
    """
    setting = transfer_setting(device)
    if _lacks_property(facts):
        return TransferPath.MAIN
    if setting is None:
        is_old = machine is not None and machine < FIRST_MACHINE
        setting = OnOffAuto.OFF if is_old else OnOffAuto.AUTO
    if setting is OnOffAuto.ON:
        return TransferPath.MULTIFD if supported else None
    is_auto = setting is OnOffAuto.AUTO
    return TransferPath.MULTIFD if is_auto and supported else TransferPath.MAIN


def _lacks_property(facts: BuildFacts) -> bool:
    return bool(facts.vfio_pci_properties) and TRANSFER not in facts.vfio_pci_properties


def _device(device: Device, path: TransferPath, abilities: Abilities) -> DeviceExpectation:
    total, reported = device.foretold_size, device.mig_data_size
    if total is None or reported is None:
        return DeviceExpectation(
            id=device.id,
            path=path,
            total_bytes=total,
            buffer_size=buffers.MOST,
            buffer_sizes=None,
            abilities=abilities,
        )
    size = buffers.buffer_size(reported)
    is_foretold = not device.precopy_size and size > 0
    return DeviceExpectation(
        id=device.id,
        path=path,
        total_bytes=total,
        buffer_size=size,
        buffer_sizes=buffers.sizes(total, size, device.read_sizes)
        if is_foretold or not total
        else None,
        abilities=abilities,
    )


Refusal = tuple[Ending, str, Side | None]


def _end(phases: Iterable[Iterable[Refusal]]) -> tuple[Ending, tuple[str, ...], Side | None]:
    """The end by the first phase that refuses anything: each of its reasons is right."""
    for phase in phases:
        found = list(phase)
        if found:
            sides = {side for _, _, side in found}
            side = sides.pop() if len(sides) == 1 else None
            return found[0][0], tuple(dict.fromkeys(why for _, why, _ in found if why)), side
    return Ending.COMPLETED, (), None


def _launch_refusals(
    scenario: Scenario,
    source: BuildFacts,
    destination: BuildFacts,
    abilities: Mapping[str, Abilities],
) -> Iterator[Refusal]:
    """vfio_migration_realize() in hw/vfio/migration.c, with enable-migration=on."""
    for side, facts in ((Side.SOURCE, source), (Side.DESTINATION, destination)):
        if _lacks_property(facts) and any(transfer_setting(d) for d in scenario.devices):
            yield Ending.LAUNCH_REFUSED, TRANSFER, side
    migratable: list[Abilities] = []
    for device in scenario.devices:
        must, ours = migration_setting(device) is OnOffAuto.ON, abilities[device.id]
        if must and not ours.stop_copy:
            yield Ending.LAUNCH_REFUSED, NOT_IN_KERNEL, None
        for side, facts in ((Side.SOURCE, source), (Side.DESTINATION, destination)):
            if must and info_v2.fails(device, facts):
                yield Ending.LAUNCH_REFUSED, info_v2.FAILED, side
        if not _can_migrate(device, ours):
            continue
        migratable.append(ours)
        if must and len(migratable) > 1 and not all(d.p2p for d in migratable):
            yield Ending.LAUNCH_REFUSED, NEEDS_P2P, None
        for side, facts in ((Side.SOURCE, source), (Side.DESTINATION, destination)):
            if must and _conflicts_with_viommu(scenario, device, ours, facts):
                yield Ending.LAUNCH_REFUSED, arguments.NOT_WITH_VIOMMU, side


def _conflicts_with_viommu(
    scenario: Scenario, device: Device, abilities: Abilities, facts: BuildFacts
) -> bool:
    """Whether ``device`` cannot migrate because it is behind a vIOMMU: newer QEMUs refuse only a
    device that keeps its own log of dirty pages.
    """
    is_old = facts.version < _VIOMMU_WITHOUT_LOG
    return arguments.has_viommu(scenario) and (is_old or _may_log(device, abilities))


def _blockers(
    scenario: Scenario, abilities: Mapping[str, Abilities], source: BuildFacts
) -> Iterator[Refusal]:
    """Devices that take a migration blocker: same function, enable-migration off or auto.

    QEMU does not ask the kernel's type1 container for dirty pages, but it asks an iommufd.  If
    neither device nor IOMMU tracks them, the device cannot migrate, unless enable-migration is on.
    The blocker is one of the mode ``normal`` only (migrate_add_blocker_normal()).
    """
    if settings.has_cpr(scenario):
        return
    tracked = _tracked_by_iommu(scenario, abilities)
    for device in scenario.devices:
        setting, ours = migration_setting(device), abilities[device.id]
        tracks = device.id in tracked or _may_log(device, ours)
        if setting is OnOffAuto.OFF:
            yield Ending.BLOCKED, DISABLED, Side.SOURCE
        elif not ours.stop_copy:
            yield Ending.BLOCKED, NOT_IN_KERNEL, Side.SOURCE
        elif info_v2.fails(device, source):
            yield Ending.BLOCKED, info_v2.FAILED, Side.SOURCE
        elif setting is OnOffAuto.AUTO and not tracks:
            yield Ending.BLOCKED, NO_DIRTY_TRACKING, Side.SOURCE
        elif _conflicts_with_viommu(scenario, device, ours, source):
            yield Ending.BLOCKED, arguments.NOT_WITH_VIOMMU, Side.SOURCE
    migratable = [
        abilities[device.id]
        for device in scenario.devices
        if _can_migrate(device, abilities[device.id])
    ]
    if len(migratable) > 1 and not all(ours.p2p for ours in migratable):
        yield Ending.BLOCKED, NEEDS_P2P, Side.SOURCE


def _may_log(device: Device, abilities: Abilities) -> bool:
    """Whether QEMU may ask ``device`` for a log of its DMA."""
    tracking = device.properties.get("x-device-dirty-page-tracking", OnOffAuto.ON)
    return abilities.dma_logging and _on_off_auto(tracking) is not OnOffAuto.OFF


def _can_migrate(device: Device, abilities: Abilities) -> bool:
    return abilities.stop_copy and migration_setting(device) is not OnOffAuto.OFF


def _transport_refusals(scenario: Scenario) -> Iterator[Refusal]:
    """What ``migrate-incoming`` and ``migrate`` refuse before they check devices.

    migration_channels_and_transport_compatible() in migration/migration.c.
    """
    is_file = scenario.transport is Transport.FILE
    if has_mapped_ram(scenario) and not is_file:
        yield Ending.REFUSED_AT_SETUP, SEEKABLE, None
    if has_multifd(scenario) and is_file and not has_mapped_ram(scenario):
        yield Ending.REFUSED_AT_SETUP, MULTI_CHANNEL, None


def _refusals(scenario: Scenario) -> Iterator[Refusal]:
    """What ``migrate`` refuses after that: migrate_prepare() in migration/migration.c."""
    if has_mapped_ram(scenario) and has_compression(scenario):
        yield Ending.REFUSED_AT_SETUP, "mapped-ram", None
    for words in (*settings.refusals_of_cpr(scenario), *settings.refusals_of_vfio(scenario)):
        yield Ending.REFUSED_AT_SETUP, words, None


def _refused_connection(scenario: Scenario) -> Iterator[Refusal]:
    if any(isinstance(fault, RefuseConnection) for fault in scenario.faults):
        yield Ending.CONNECTION_REFUSED, "", None


def _refused_handshake(scenario: Scenario) -> Iterator[Refusal]:
    if scenario.tls_mismatch is not None:
        yield Ending.HANDSHAKE_REFUSED, "", None


def _refused_transfer(scenario: Scenario, paths: list[TransferPath | None]) -> Iterator[Refusal]:
    """vfio_multifd_setup(), called by vfio_save_setup() and by vfio_load_setup().

    In a stream, either side may be first.
    """
    if None in paths:
        is_file = scenario.transport is Transport.FILE
        yield Ending.REFUSED_AT_SETUP, UNSUPPORTED, Side.SOURCE if is_file else None


def _device_errors(scenario: Scenario) -> Iterator[Refusal]:
    """A device fails once it has given or taken a number of bytes.

    A source device is read until it has no more, so an error right behind its last byte is met
    too; a destination device is not written beyond its last byte.
    """
    for device in scenario.devices:
        total, read, write = device.total_size or 0, device.read_error_at, device.write_error_at
        if read is not None and read <= total:
            yield Ending.DEVICE_ERROR, "", Side.SOURCE
        if write is not None and write < total:
            yield Ending.DEVICE_ERROR, "", Side.DESTINATION


def _impossible_sizes(scenario: Scenario) -> Iterator[Refusal]:
    """A device fails to report its sizes, or reports what it cannot have.

    QEMU may fail the migration, or complete it, or go on with its pre-copy (PRE-4).
    """
    for device in scenario.emulated:
        if device.fails_sizes:
            yield Ending.DEVICE_ERROR, "", Side.SOURCE


def _refused_vectors(scenario: Scenario) -> Iterator[Refusal]:
    """The destination's device fails to arm interrupts that the guest has enabled."""
    for device in scenario.emulated:
        if device.interrupts.arm_errno:
            yield Ending.DEVICE_ERROR, "", Side.DESTINATION


def _log_errors(scenario: Scenario, abilities: Mapping[str, Abilities]) -> Iterator[Refusal]:
    """A device, or its IOMMU, fails a call about the log of its DMA.

    QEMU asks the devices for logs only if all have one, else their IOMMU
    (vfio_container_devices_dirty_tracking_is_supported() in hw/vfio/container.c).  It may also
    complete, and take all pages for dirty (DMA-2).
    """
    is_own = all(_may_log(device, abilities[device.id]) for device in scenario.devices)
    tracked = _tracked_by_iommu(scenario, abilities)
    for device in scenario.emulated:
        is_refused = is_own and _exceeds_ranges(scenario, device)
        is_kept = is_own or device.id in tracked
        if is_refused or (is_kept and (device.dma.start_errno or device.dma.report_errno)):
            yield Ending.DEVICE_ERROR, "", Side.SOURCE


def _tracked_by_iommu(scenario: Scenario, abilities: Mapping[str, Abilities]) -> set[str]:
    """Devices whose IOMMU tracks dirty pages.

    An emulated device gets the latest page table that its IOMMU can use, else a new one: one that
    tracks only if the first device of it can (iommufd_cdev_autodomains_get() in
    hw/vfio/iommufd.c).  Which tables those of a kernel's device fit is not known.
    """
    found, tables = set[str](), list[bool]()
    for device in scenario.devices:
        tracks = abilities[device.id].iommu_tracking
        if isinstance(device, EmulatedDevice):
            table = next((table for table in tables if tracks or not table), None)
            if table is None:
                tables.insert(0, tracks)
            else:
                tracks = table
        if tracks:
            found.add(device.id)
    return found


def _exceeds_ranges(scenario: Scenario, device: EmulatedDevice) -> bool:
    """Whether QEMU gives more ranges than ``device`` takes: one below 4 GiB, and one above it if
    there is RAM (vfio_dirty_tracking_update_range() in hw/vfio/listener.c).
    """
    limit = device.dma.max_ranges
    return limit is not None and limit < 1 + (scenario.ram_mib > settings.LOW_RAM_MIB)
