"""Devices with a driver of the kernel behind them: the machine's, or the rig's."""

from collections.abc import Iterator
from typing import Self

import msgspec

from harness.scenario import ranges
from harness.scenario.device_spec import MIB, Abilities, DeviceSpec, Frozen, OnOffAuto
from harness.scenario.pci_address import full_address
from harness.scenario.strict_json import did_you_mean

_SERIAL_PORTS = {"mtty-1": 1, "mtty-2": 2}
"""Of each mdev type that is a serial card (samples/vfio-mdev/mtty.c)."""


class MdevDevice(DeviceSpec, frozen=True, kw_only=True, tag="mdev"):
    """A mediated device of the kernel: an instance is made for each side."""

    is_observable = False
    is_kernel = True
    is_in_rig = True
    forms = ("mdev", "mdev:TYPE")

    type: str = "mtty-1"
    """The mdev type, as in sysfs: ``mtty-1`` is a serial card with one port."""
    parent: str = ""
    """The parent device that offers it; empty for any."""

    @classmethod
    def from_argument(cls, text: str, id: str, number: int) -> Self | None:
        """Of the type ``text``, if that is given."""
        if "/" in text:
            return None
        return cls(id=id, type=text) if text else cls(id=id)

    @property
    def serial_ports(self) -> int:
        """Those of mtty's cards."""
        return _SERIAL_PORTS.get(self.type, 0)

    @property
    def not_in_rig(self) -> str:
        """That the rig has no such type."""
        if self.type in _SERIAL_PORTS:
            return ""
        return f"{self.id}: there is no type {self.type}{did_you_mean(self.type, _SERIAL_PORTS)}"

    def problems(self, *, has_guest: bool) -> Iterator[tuple[bool, str]]:
        """Names only."""
        for name, value in (("type", self.type), ("parent", self.parent)):
            yield "/" not in value, f"{self.id}: {name} {value!r} is a name, not a path"
        yield bool(self.type), f"{self.id}: type is empty; one is mtty-1"


class PciDevice(DeviceSpec, frozen=True, kw_only=True, tag="pci"):
    """PCI functions of this machine, passed through: one to each QEMU."""

    is_observable = False
    is_kernel = True
    forms = ("pci:SOURCE", "pci:SOURCE,DESTINATION")

    source: str
    """Address of the source's function, like ``0000:3b:00.2``."""
    destination: str = ""
    """Address of the destination's; empty for none, which fits only a device that cannot
    migrate."""
    driver: str = ""
    """The VFIO driver to bind them to, like ``mlx5_vfio_pci``; empty for the one that they are
    bound to, else vfio-pci."""
    iommufd: OnOffAuto = OnOffAuto.AUTO
    """Whether QEMU opens them by iommufd, else by group and container; auto for by iommufd if the
    kernel can."""

    @classmethod
    def from_argument(cls, text: str, id: str, number: int) -> Self | None:
        """Of one address or two."""
        source, _, destination = text.partition(",")
        return cls(id=id, source=source, destination=destination) if text else None

    @property
    def addresses(self) -> tuple[str, ...]:
        """The source's, and the destination's if it has one.

        :raise ValueError: one is no PCI address
        """
        try:
            return tuple(full_address(text) for text in (self.source, self.destination) if text)
        except ValueError as error:
            raise ValueError(f"{self.id}: {error}") from error

    def problems(self, *, has_guest: bool) -> Iterator[tuple[bool, str]]:
        """Names and addresses."""
        yield bool(self.source), f"{self.id}: source is empty; it is a PCI address"
        yield "/" not in self.driver, f"{self.id}: driver is a name, not a path"


IVSHMEM_SLOT = 0x12
"""Slot on bus 0 of the rig's first function of ivshmem-plain; the others follow it."""
IVSHMEM_HEADER = 32
"""Bytes in front of the BAR in the state of ``images/rig/modules/ivshmem_vfio_pci``."""


class DriverParameters(Frozen, frozen=True, kw_only=True):
    """What the rig's variant driver is set to for one function; named as in its debugfs."""

    read_most: ranges.Bytes = 0
    """Most bytes that each ``read()`` of the state gives; 0 for no limit."""
    read_delay_us: ranges.Uint32 = 0
    """Time before each ``read()`` is answered."""
    read_error_at: ranges.Size | None = None
    """``read()`` fails with EIO once this many bytes were given."""
    write_most: ranges.Bytes = 0
    """Most bytes that each ``write()`` accepts; 0 for no limit."""
    write_delay_us: ranges.Uint32 = 0
    """Time before each ``write()`` is answered."""
    write_error_at: ranges.Size | None = None
    """``write()`` fails with EIO once this many bytes were accepted."""


class IvshmemDevice(PciDevice, frozen=True, kw_only=True, tag="ivshmem"):
    """Functions of QEMU's ivshmem-plain, which the rig's variant driver migrates.

    The state is a header, the first ``precopy_initial_bytes`` of BAR 2 if there is a pre-copy, and
    all of BAR 2: the harness fills the source's and compares the two.
    """

    is_observable = True
    is_in_rig = True
    forms = ("ivshmem", "ivshmem:SOURCE,DESTINATION")

    source: str = f"0000:00:{IVSHMEM_SLOT:02x}.0"
    destination: str = f"0000:00:{IVSHMEM_SLOT + 1:02x}.0"
    driver: str = "ivshmem_vfio_pci"
    size: ranges.Size = 16 * MIB
    """Bytes of BAR 2."""
    seed: ranges.Value = 1
    """Of what it is filled with."""
    pre_copy: bool = False
    """VFIO_MIGRATION_PRE_COPY."""
    p2p: bool = True
    """VFIO_MIGRATION_P2P."""
    precopy_initial_bytes: ranges.Size = 0
    """Bytes of BAR 2 that are sent in PRE_COPY, and once more in STOP_COPY."""
    at_source: DriverParameters = DriverParameters()
    at_destination: DriverParameters = DriverParameters()

    @classmethod
    def from_argument(cls, text: str, id: str, number: int) -> Self | None:
        """Of two addresses; else the rig's ``number``-th pair."""
        source, _, destination = text.partition(",")
        own = {"source": source, "destination": destination} if text else {}
        found = msgspec.structs.replace(cls(id=id).copy(id, number), **own)
        return None if text and not destination else found

    def copy(self, id: str, number: int) -> Self:
        """The rig's ``number``-th pair, with a state of its own."""
        first = IVSHMEM_SLOT + 2 * number
        source, destination = (f"0000:00:{slot:02x}.0" for slot in (first, first + 1))
        return msgspec.structs.replace(
            self, id=id, source=source, destination=destination, seed=self.seed + number
        )

    def with_state(self, size: int | None, seed: int | None) -> Self:
        """Any seed."""
        found = super().with_state(size, None)
        return found if seed is None else msgspec.structs.replace(found, seed=seed)

    @property
    def abilities(self) -> Abilities:
        """As set; the stock kernel has no log of DMA for it."""
        return Abilities(p2p=self.p2p, pre_copy=self.pre_copy)

    @property
    def early_bytes(self) -> int:
        """Bytes of BAR 2 that are in its state twice."""
        return min(self.precopy_initial_bytes, self.size) if self.pre_copy else 0

    @property
    def total_size(self) -> int:
        """All bytes of state."""
        return IVSHMEM_HEADER + self.early_bytes + self.size

    @property
    def precopy_size(self) -> int:
        """Bytes that can be read while the device is in PRE_COPY."""
        return IVSHMEM_HEADER + self.early_bytes if self.pre_copy else 0

    @property
    def mig_data_size(self) -> int:
        """The truth."""
        return self.total_size

    @property
    def read_sizes(self) -> tuple[int, ...]:
        """As set."""
        most = self.at_source.read_most
        return (most,) if most else ()

    @property
    def read_error_at(self) -> int | None:
        """As set."""
        return self.at_source.read_error_at

    @property
    def write_error_at(self) -> int | None:
        """As set."""
        return self.at_destination.write_error_at

    def problems(self, *, has_guest: bool) -> Iterator[tuple[bool, str]]:
        """Both addresses."""
        yield from super().problems(has_guest=has_guest)
        yield bool(self.destination), f"{self.id}: destination is empty; it is a PCI address"
