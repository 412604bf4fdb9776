"""The **devices** of a scenario, and what each kind of device is.

A kind is one tagged struct, and the rest of the harness asks it what it is (``is_observable``,
``abilities``, ...), never of which class it is.  ``harness.devices`` has a file named after the tag
of each, which attaches it to a QEMU.  ``device_spec`` has what all kinds have.  Anchor for a new
kind: :class:`MdevDevice` in ``kernel_devices``, and ``harness/devices/mdev.py``.
"""

import enum
import errno as _errno
import re
import typing
from collections.abc import Iterator
from typing import ClassVar, Literal, Self

import msgspec

from harness.scenario import ranges
from harness.scenario.device_spec import MIB, Abilities, DeviceSpec, OnOffAuto
from harness.scenario.device_spec import Frozen as _Frozen
from harness.scenario.dma import Dma
from harness.scenario.interrupts import Interrupts
from harness.scenario.kernel_devices import IvshmemDevice, MdevDevice, PciDevice
from harness.scenario.misreports import Misreport, Query
from harness.scenario.precopy import PrecopyChange
from harness.scenario.vfio_user import ServerFault, VfioUserClient

VENDOR_MOST = 125  # bytes of its second vendor capability: with three in front up to the end
MSIX_CAPABILITY_SIZE = 12
SCRATCH_SIZE = 60  # the emulated device's own registers, in front of BAR 0 in its state


class DataPath(enum.StrEnum):
    """How the device's ``data_fd`` is served.

    ``memfd``: QEMU reads and writes a memfd at full speed; the single calls are not seen.
    ``supervised``: the harness answers every ``read`` and ``write``: any short count, error
    or delay is possible, memory is bounded, each call is recorded.
    ``auto``: memfd if the other settings and the size allow it.
    """

    AUTO = "auto"
    MEMFD = "memfd"
    SUPERVISED = "supervised"


class Lie(enum.StrEnum):
    """What the destination device does to the state that QEMU loaded, behind QEMU's back.

    It imitates a QEMU that reassembles wrongly; the verdict must catch it.  A buffer
    is what one ``read()`` of the source's device gave; ``lie_at`` is its index.
    """

    WRONG_BYTE = "wrong_byte"
    LOST_BUFFER = "lost_buffer"
    SWAPPED_BUFFERS = "swapped_buffers"


class SaveBehaviour(_Frozen, frozen=True, kw_only=True):
    """How the source device gives its state through ``data_fd``."""

    read_sizes: ranges.Calls = ()
    """Most bytes that each ``read()`` gives, used in turn and over again; empty for no limit."""
    read_delay_s: ranges.Delay = 0.0
    """Time before each ``read()`` is answered."""
    error_at: ranges.Size | None = None
    """``read()`` fails with EIO once this many bytes were given."""


class LoadBehaviour(_Frozen, frozen=True, kw_only=True):
    """How the destination device takes its state through ``data_fd``."""

    write_sizes: ranges.Calls = ()
    """Most bytes that each ``write()`` accepts, used in turn and over again; empty for no limit."""
    write_delay_s: ranges.Delay = 0.0
    """Time before each ``write()`` is answered."""
    error_at: ranges.Size | None = None
    """``write()`` fails with EIO once this many bytes were accepted."""
    lie: Lie | None = None
    lie_at: ranges.Uint32 = 0
    """Index of the buffer that the lie is about."""


class MigrationState(enum.StrEnum):
    """A state that a device can be asked for: ``enum vfio_device_mig_state`` of linux/vfio.h."""

    STOP = "STOP"
    RUNNING = "RUNNING"
    STOP_COPY = "STOP_COPY"
    RESUMING = "RESUMING"
    RUNNING_P2P = "RUNNING_P2P"
    PRE_COPY = "PRE_COPY"
    PRE_COPY_P2P = "PRE_COPY_P2P"


class RefusedArc(_Frozen, frozen=True, kw_only=True):
    """An arc that a device fails each time, as a driver whose firmware answers an error."""

    side: Literal["source", "destination"]
    to: MigrationState
    """The state that it leads to.  The device stays in the one before."""
    errno: ranges.Errno = _errno.EIO


class Given(enum.StrEnum):
    """How many data_fds an arc gives that gives another number than it should."""

    NONE = "none"
    """None, where one is opened."""
    EXTRA = "extra"
    """One, where none is opened."""


class WrongDataFd(_Frozen, frozen=True, kw_only=True):
    """An arc that gives no data_fd where one is due, or one where none is, each time."""

    side: Literal["source", "destination"]
    to: MigrationState
    """The state that QEMU asks for."""
    gives: Given


class EmulatedDevice(DeviceSpec, frozen=True, kw_only=True, tag="emulated"):
    """A PCI function that lives in the harness (``harness.vfio``).

    Its state is ``precopy_initial_bytes + precopy_dirty_bytes + size`` bytes of a
    generator seeded with ``seed``, with the device's scratch registers and BAR 0 in
    front as far as they fit.
    """

    is_observable = True
    is_kernel = False
    forms: ClassVar[tuple[str, ...]] = ("emulated",)

    size: ranges.Size = 16 * MIB
    """Bytes of state that are left for stop-copy."""
    seed: int = 1
    bar_size: ranges.Bar = 64 * 1024
    """Size of memory BAR 0, a power of two of at least 4 KiB."""
    vendor_id: ranges.Uint16 = 0x1234
    """The PCI ids (PCI_VENDOR_ID, ... of linux/pci_regs.h)."""
    device_id: ranges.Uint16 = 0x7FD0
    subsystem_vendor_id: ranges.Uint16 = 0x1234
    subsystem_id: ranges.Uint16 = 0x7FD0
    vendor_capability: str = ""
    """Contents of a second vendor-specific capability, in hexadecimal; empty for none."""

    stop_copy: bool = True
    """VFIO_MIGRATION_STOP_COPY; without it the device cannot migrate (ENOTTY)."""
    p2p: bool = True
    """VFIO_MIGRATION_P2P."""
    pre_copy: bool = False
    """VFIO_MIGRATION_PRE_COPY."""
    precopy_initial_bytes: ranges.Size = 0
    precopy_dirty_bytes: ranges.Size = 0
    precopy_info_v2: ranges.Result = _errno.ENOTTY
    """What VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 answers on both sides: 0 for yes.  ENOTTY is
    that of a kernel before 7.1."""
    dma_logging: bool = True
    """Whether the device tracks the pages it dirties (DMA_LOGGING_*)."""
    reported_size: ranges.Value | None = None
    """What MIG_DATA_SIZE answers; None for the true size.  QEMU reads in buffers of
    min(1 MiB, this)."""

    iommu_tracking: bool = False
    """Whether its IOMMU does (IOMMU_HWPT_SET_DIRTY_TRACKING)."""
    dma: Dma = Dma()
    """What it writes to the guest's RAM."""
    interrupts: Interrupts = Interrupts()
    """Its MSI-X vectors, and when it fires them."""

    data_path: DataPath = DataPath.AUTO
    save: SaveBehaviour = SaveBehaviour()
    load: LoadBehaviour = LoadBehaviour()
    refuses: tuple[RefusedArc, ...] = ()
    """Arcs of its migration states that it fails."""
    misreports: tuple[Misreport, ...] = ()
    """Wrong answers to questions for sizes, at the source; of several the first one counts."""
    precopy_changes: tuple[PrecopyChange, ...] = ()
    """Changes of what the source's device has for pre-copy, while it is migrated."""
    data_fds: tuple[WrongDataFd, ...] = ()
    """Arcs that give the wrong number of data_fds."""

    @classmethod
    def from_argument(cls, text: str, id: str, number: int) -> Self | None:
        """Each with a state of its own."""
        return None if text else cls(id=id, seed=number + 1)

    def copy(self, id: str, number: int) -> Self:
        """With a state of its own."""
        dma = self.dma.copy(number)
        return msgspec.structs.replace(self, id=id, seed=self.seed + number, dma=dma)

    def with_state(self, size: int | None, seed: int | None) -> Self:
        """Any size, any seed."""
        return msgspec.structs.replace(
            self,
            size=self.size if size is None else size,
            seed=self.seed if seed is None else seed,
        )

    @property
    def hardware(self) -> Self:
        """Without how it gives and takes its state, and how it changes its migration state."""
        return msgspec.structs.replace(
            self, save=SaveBehaviour(), load=LoadBehaviour(), refuses=(), data_fds=()
        )

    @property
    def abilities(self) -> Abilities | None:
        """As set."""
        return Abilities(
            stop_copy=self.stop_copy,
            p2p=self.p2p,
            pre_copy=self.pre_copy,
            dma_logging=self.dma_logging,
            iommu_tracking=self.iommu_tracking,
        )

    @property
    def total_size(self) -> int:
        """All bytes of state: what pre-copy carries and what stop-copy carries."""
        return self.precopy_size + self.size

    @property
    def foretold_size(self) -> int | None:
        """Not known if what there is for pre-copy changes."""
        return None if self.precopy_changes else self.total_size

    @property
    def precopy_size(self) -> int:
        """Bytes that can be read while the device is in PRE_COPY."""
        return (self.precopy_initial_bytes + self.precopy_dirty_bytes) if self.pre_copy else 0

    @property
    def mig_data_size(self) -> int | None:
        """``reported_size``, or the truth; None if it misreports, now and then or always."""
        if any(each.query is Query.DATA_SIZE for each in self.misreports):
            return None
        return self.total_size if self.reported_size is None else self.reported_size

    @property
    def read_sizes(self) -> tuple[int, ...]:
        """As set."""
        return self.save.read_sizes

    @property
    def read_error_at(self) -> int | None:
        """As set."""
        return self.save.error_at

    @property
    def write_error_at(self) -> int | None:
        """As set."""
        return self.load.error_at

    @property
    def is_supervised(self) -> bool:
        """As set; with ``auto`` it depends on the side."""
        return self.data_path is DataPath.SUPERVISED

    def problems(self, *, has_guest: bool) -> Iterator[tuple[bool, str]]:
        """A setting without effect is refused, too."""
        head = SCRATCH_SIZE + self.bar_size
        yield (
            not has_guest or self.size >= head,
            f"{self.id}: size is {self.size}: for a guest to find BAR 0 again it must "
            f"be {head} or more",
        )
        yield from self._idle_settings()
        yield from self.dma.problems(self.id, has_guest=has_guest)
        for misreport in self.misreports:
            yield from misreport.problems(self.id, pre_copy=self.pre_copy)
        for change in self.precopy_changes:
            yield from change.problems(self.id, pre_copy=self.pre_copy, p2p=self.p2p)
        yield (
            not self.precopy_changes
            or (
                not (self.misreports or self.load.lie)
                and (self.save.error_at is self.load.error_at is None)
            ),
            f"{self.id}: precopy_changes go with no lie, misreports or error_at",
        )
        yield from self.interrupts.problems(
            self.id, has_pre_copy=self.pre_copy, has_guest=has_guest
        )
        room = VENDOR_MOST - MSIX_CAPABILITY_SIZE * self.interrupts.is_used
        yield self.size >= 0, f"{self.id}: size is {self.size}, below 0"
        bar = self.bar_size
        yield (
            bar >= 4096 and bar & (bar - 1) == 0,
            f"{self.id}: bar_size is {bar}, not a power of two of at least 4096",
        )
        contents = self.vendor_capability
        yield (
            re.fullmatch(f"([0-9a-fA-F]{{2}}){{0,{room}}}", contents, re.ASCII) is not None,
            f"{self.id}: vendor_capability is {contents!r}, not up to {room} bytes in hexadecimal",
        )
        yield (
            all(s > 0 for s in (*self.save.read_sizes, *self.load.write_sizes)),
            f"{self.id}: read_sizes and write_sizes must be above 0",
        )

    def _idle_settings(self) -> Iterator[tuple[bool, str]]:
        """Settings that would silently do nothing: only calls that are answered one by one can
        be delayed, cut short or failed, and only a state in a memfd can be lied about.
        """
        save, load = self.save, self.load
        is_memfd = self.data_path is DataPath.MEMFD
        answers = msgspec.structs.replace(load, lie=None, lie_at=0) != LoadBehaviour()
        yield (
            not is_memfd or (save == SaveBehaviour() and not answers and not self.pre_copy),
            f"{self.id}: delays, sizes, errors and pre_copy need data_path=supervised or auto",
        )
        yield (
            self.pre_copy or self.precopy_info_v2 == _errno.ENOTTY,
            f"{self.id}: precopy_info_v2 needs pre_copy",
        )
        yield (
            load.lie is None or not (answers or self.is_supervised),
            f"{self.id}: a lie needs a destination without delays, sizes and errors",
        )
        yield (
            min(save.read_delay_s, load.write_delay_s, save.error_at or 0, load.error_at or 0) >= 0,
            f"{self.id}: a delay or error_at is below 0",
        )

    @property
    def fails_sizes(self) -> bool:
        """Whether it fails to report a size, or reports one that it cannot have."""
        return any(each.is_impossible for each in self.misreports)

    def refused_at(self, side: str) -> dict[str, int]:
        """States that it refuses to enter on ``side`` -> the errno."""
        return {each.to.value: each.errno for each in self.refuses if each.side == side}

    def wrong_data_fds_at(self, side: str) -> dict[str, Given]:
        """States for which it gives the wrong number of data_fds on ``side`` -> what it gives."""
        return {each.to.value: each.gives for each in self.data_fds if each.side == side}

    def field_problems(self) -> Iterator[str]:
        """The seed has no range in JSON, because an older saved run may have one below 0."""
        if not 0 <= self.seed <= ranges.INT64_MAX:
            yield f"seed is {self.seed}, not 0 to {ranges.INT64_MAX}"


class VfioUserDevice(EmulatedDevice, frozen=True, kw_only=True, tag="vfio_user"):
    """An emulated device behind a vfio-user server of the harness, one for each QEMU."""

    forms = ("vfio_user", "vfio_user:qemu")

    client: VfioUserClient = VfioUserClient.HARNESS
    data_path: DataPath = DataPath.SUPERVISED
    dma_logging: bool = False
    """The client does not pass it on."""
    server_faults: tuple[ServerFault, ...] = ()
    reply_limit_s: ranges.Delay = 10.0
    """Most time for one reply of the server; then it is lost."""

    @classmethod
    def from_argument(cls, text: str, id: str, number: int) -> Self | None:
        """Each with a state of its own."""
        if text == VfioUserClient.QEMU:
            return cls(
                id=id,
                seed=number + 1,
                client=VfioUserClient.QEMU,
                enable_migration=OnOffAuto.AUTO,
                multifd_transfer=None,
            )
        return None if text else cls(id=id, seed=number + 1)

    @property
    def abilities(self) -> Abilities | None:
        """Those of the device, which QEMU's own client may not use."""
        return None if self.client is VfioUserClient.QEMU else super().abilities

    @property
    def is_vfio_user_pci(self) -> bool:
        """If QEMU is the client."""
        return self.client is VfioUserClient.QEMU

    @property
    def planned_server_faults(self) -> tuple[ServerFault, ...]:
        """As set."""
        return self.server_faults

    def problems(self, *, has_guest: bool) -> Iterator[tuple[bool, str]]:
        """What the protocol has no messages for, and what QEMU's client has no properties for."""
        yield from super().problems(has_guest=has_guest)
        yield (
            self.data_path is DataPath.SUPERVISED,
            f"{self.id}: data_path is {self.data_path}: each read and write is a message",
        )
        lacking = self.pre_copy or self.dma_logging or self.iommu_tracking or self.dma != Dma()
        yield not lacking, f"{self.id}: pre_copy, dma_logging and dma are for emulated devices"
        has_none = not self.interrupts.is_used and not self.data_fds
        yield has_none, f"{self.id}: interrupts and data_fds are for emulated devices"
        is_plain = self.multifd_transfer is None and self.enable_migration is OnOffAuto.AUTO
        yield (
            self.client is not VfioUserClient.QEMU or (is_plain and not self.properties),
            f"{self.id}: client is 'qemu': its vfio-user-pci has no properties of migration: set "
            "enable_migration to 'auto', multifd_transfer to null, and no properties",
        )


Device = EmulatedDevice | MdevDevice | PciDevice | IvshmemDevice | VfioUserDevice
"""Of any kind."""

KINDS: tuple[type[Device], ...] = typing.get_args(Device)
"""All kinds."""
