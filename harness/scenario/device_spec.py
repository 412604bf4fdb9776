"""What a scenario says of a device of any kind, and what each kind must say of itself."""

import enum
from collections.abc import Iterator
from typing import Any, ClassVar, Self

import msgspec

from harness.scenario.vfio_user import ServerFault

MIB = 1 << 20


class Frozen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frozen, keyword only, and an unknown field is an error."""


class OnOffAuto(enum.StrEnum):
    """QEMU's OnOffAuto."""

    ON = "on"
    OFF = "off"
    AUTO = "auto"


class Abilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a device can do, as its driver reports it (VFIO_DEVICE_FEATURE of linux/vfio.h).

    The defaults are those of mtty, which has no DMA to log.
    """

    stop_copy: bool = True
    """VFIO_MIGRATION_STOP_COPY; without it the device cannot migrate."""
    p2p: bool = True
    """VFIO_MIGRATION_P2P."""
    pre_copy: bool = True
    """VFIO_MIGRATION_PRE_COPY."""
    dma_logging: bool = False
    """Whether it logs the pages that it writes (VFIO_DEVICE_FEATURE_DMA_LOGGING_START)."""
    iommu_tracking: bool = False
    """Whether its IOMMU does, by iommufd (IOMMU_HW_CAP_DIRTY_TRACKING of linux/iommufd.h)."""

    def __str__(self) -> str:
        names = [name.upper() for name in self.__struct_fields__ if getattr(self, name)]
        return ", ".join(names) if self.stop_copy else "does not migrate"


class DeviceSpec(Frozen, frozen=True, kw_only=True, tag_field="kind"):
    """What a scenario says of a device of any kind.

    A kind sets the first three of the class variables; a struct that leaves one out is refused
    when its class is made.  It overrides the rest where the answer for its devices is another.
    """

    is_observable: ClassVar[bool]
    """Whether the harness sees the state that the device saves and loads, and so can compare it.
    Of any other device only the packets that a relay records are known."""
    is_kernel: ClassVar[bool]
    """Whether a driver of the kernel is behind it, so that the machine may lack it, and all may
    take longer."""
    forms: ClassVar[tuple[str, ...]]
    """What ``--device`` takes for it, for the help."""
    is_in_rig: ClassVar[bool] = False
    """Whether the rig has devices of this kind: where this machine has none, it runs there."""

    id: str
    """QEMU's device id; also the device's name in records."""
    multifd_transfer: OnOffAuto | None = OnOffAuto.ON
    """x-migration-multifd-transfer on both sides; None for QEMU's default."""
    enable_migration: OnOffAuto = OnOffAuto.ON
    properties: dict[str, str | int | bool] = {}
    """More properties of vfio-pci, on both sides."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("is_observable", "is_kernel", "forms"):
            if not hasattr(cls, name):
                raise TypeError(f"{cls.__name__} must set {name}")

    @property
    def not_in_rig(self) -> str:
        """Why the rig has no such device, though it has some of its kind; "" if it has."""
        return ""

    @property
    def kind(self) -> str:
        """Its tag in JSON: the name of the file of ``harness.devices`` that attaches it."""
        return str(self.__struct_config__.tag)

    @classmethod
    def from_argument(cls, text: str, id: str, number: int) -> Self | None:
        """The ``number``-th device, which ``--device KIND:text`` asks for; None if ``text`` is
        none of ``forms``.
        """
        raise NotImplementedError

    def copy(self, id: str, number: int) -> Self:
        """Another device like it, which is the ``number``-th."""
        return msgspec.structs.replace(self, id=id)

    def with_state(self, size: int | None, seed: int | None) -> Self:
        """It with a state of ``size`` from ``seed``, where they are given.

        :raise ValueError: its state is its own
        """
        if size is not None:
            raise ValueError(f"{self.id}: --size is for emulated devices; this one has its own")
        return self

    def problems(self, *, has_guest: bool) -> Iterator[tuple[bool, str]]:
        """What must hold of it alone, and what is wrong where it does not.

        :param has_guest: whether a guest runs
        """
        return iter(())

    def field_problems(self) -> Iterator[str]:
        """What no run can do with its fields; each line starts with the field's name."""
        return iter(())

    @property
    def hardware(self) -> Self:
        """It as it is in all migrations of a scenario; what it does may differ between them."""
        return self

    # -- what the harness knows of its state beforehand

    @property
    def abilities(self) -> Abilities | None:
        """What it can do; None if only the kernel knows."""
        return None

    @property
    def total_size(self) -> int | None:
        """All bytes of its state; None if only the device knows."""
        return None

    @property
    def foretold_size(self) -> int | None:
        """The same; None too if it changes while it is migrated."""
        return self.total_size

    @property
    def precopy_size(self) -> int:
        """Bytes of its state that are set aside for pre-copy."""
        return 0

    @property
    def mig_data_size(self) -> int | None:
        """What it answers to VFIO_DEVICE_FEATURE_MIG_DATA_SIZE; None if only it knows."""
        return None

    @property
    def read_sizes(self) -> tuple[int, ...]:
        """Most bytes that each ``read()`` of its state gives, used in turn and over again; empty
        if it gives all that is asked for, or only it knows.
        """
        return ()

    @property
    def read_error_at(self) -> int | None:
        """Bytes of its state after which a ``read()`` fails with EIO; None if none does."""
        return None

    @property
    def write_error_at(self) -> int | None:
        """The same of a ``write()``."""
        return None

    @property
    def is_supervised(self) -> bool:
        """Whether the harness answers each read and write of its state, and so sees when."""
        return False

    @property
    def planned_server_faults(self) -> tuple[ServerFault, ...]:
        """What its vfio-user server is to do wrong."""
        return ()

    @property
    def is_vfio_user_pci(self) -> bool:
        """Whether it is a vfio-user-pci of QEMU, and no vfio-pci."""
        return False

    # -- what a guest finds of it

    @property
    def bar_size(self) -> int:
        """Size of memory BAR 0, which the harness places and reads as a guest would; 0: it does
        not.
        """
        return 0

    @property
    def serial_ports(self) -> int:
        """Serial ports at I/O BARs 0, 1, ..., by which a guest sees its state; 0: it is no serial
        card.
        """
        return 0

    # -- what it needs of the machine

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the machine has it, the source's and the destination's, if only one QEMU at a
        time can have it.  As many as there are: it may be the source's alone.
        """
        return ()
