"""The machine's PCI functions, as sysfs shows them, and which driver has them.

A function is given to a driver by its ``driver_override`` and the driver's ``bind``
(Documentation/ABI/testing/sysfs-bus-pci of the kernel); a driver of VFIO then offers it to
QEMU (Documentation/driver-api/vfio.rst).
"""

import platform
from pathlib import Path

import msgspec

from harness.devices.sysfs import Sysfs
from harness.errors import HarnessError, PrerequisiteMissing

VFIO_PCI = "vfio-pci"
_NO_DMA = ("", "pci-stub", "pcieport")
"""Drivers beside which VFIO has a group too: they let the device do no DMA of their own
(driver_managed_dma of struct pci_driver)."""


class PciFunction(msgspec.Struct, frozen=True):
    """One function, as it was when it was looked at."""

    address: str
    kind: str
    """Vendor and device, like ``8086:10d3``."""
    driver: str
    """The driver that has it; empty: none."""
    override: str
    """Its ``driver_override``; empty: none."""
    group: str
    """Number of its IOMMU group; empty: it is in none."""


class PciBus(Sysfs):
    """The functions of the machine, and their drivers."""

    def device(self, address: str) -> Path:
        """The folder of the function, there or not."""
        return self.sysfs / "bus/pci/devices" / address

    def function(self, address: str) -> PciFunction:
        """The function at the full ``address``.

        :raise PrerequisiteMissing: there is none
        """
        folder = self.device(address)
        if not folder.exists():
            raise PrerequisiteMissing(f"there is no PCI device {address}: lspci -D tells those")
        ids = [(folder / name).read_text().strip()[2:] for name in ("vendor", "device")]
        override = (folder / "driver_override").read_text().strip()
        return PciFunction(
            address,
            ":".join(ids),
            _target(folder / "driver"),
            "" if override == "(null)" else override,
            _target(folder / "iommu_group"),
        )

    def functions(self) -> list[PciFunction]:
        """All of them."""
        folders = sorted((self.sysfs / "bus/pci/devices").glob("*"))
        return [self.function(folder.name) for folder in folders]

    def vfio_drivers(self) -> list[str]:
        """Loaded drivers that offer a function to QEMU: vfio-pci, and variants that migrate it.

        They stand on the module ``vfio_pci_core``; where that is built in, their names tell.
        """
        modules = {path.name for path in (self.sysfs / "module/vfio_pci_core/holders").glob("*")}
        return [
            name
            for name in self._drivers()
            if "vfio" in name or _target(self._driver(name) / "module") in modules
        ]

    def require_driver(self, name: str) -> None:
        """Refuse a driver that could not offer anything to QEMU.

        :raise PrerequisiteMissing: it is not loaded, or is none of VFIO
        """
        if name not in self._drivers():
            raise PrerequisiteMissing(
                f"there is no PCI driver {name}: as root: modprobe {name} "
                f"(this is Linux {platform.release()})"
            )
        there = self.vfio_drivers()
        if name not in there:
            raise PrerequisiteMissing(f"{name} is no driver of VFIO; there are: {', '.join(there)}")

    def require_group(self, function: PciFunction) -> None:
        """Refuse a function whose IOMMU group QEMU cannot have as a whole.

        :raise PrerequisiteMissing: it is in none, or shares it with a device in use
        """
        if not function.group:
            raise PrerequisiteMissing(
                f"{function.address} is in no IOMMU group: boot with intel_iommu=on or "
                "amd_iommu=on, switched on in the firmware"
            )
        allowed = {*_NO_DMA, *self.vfio_drivers()}
        for other in self.members(function.group):
            if other.address != function.address and other.driver not in allowed:
                raise PrerequisiteMissing(
                    f"{function.address} shares IOMMU group {function.group} with "
                    f"{other.address}, which driver {other.driver} has: unbind that one, too, "
                    "or take another slot"
                )

    def members(self, group: str) -> list[PciFunction]:
        """The functions in an IOMMU group."""
        folder = self.sysfs / "kernel/iommu_groups" / group / "devices"
        known = {path.name for path in (self.sysfs / "bus/pci/devices").glob("*")}
        return [self.function(path.name) for path in sorted(folder.glob("*")) if path.name in known]

    def group_file(self, function: PciFunction) -> Path:
        """The device file of its IOMMU group."""
        return self.dev / "vfio" / function.group

    def device_file(self, function: PciFunction) -> Path | None:
        """Its own device file, for iommufd (Linux 6.6 on); None: the kernel has none."""
        for folder in sorted((self.device(function.address) / "vfio-dev").glob("vfio*")):
            path = self.dev / "vfio/devices" / folder.name
            return path if path.exists() and self.iommufd_file.exists() else None
        return None

    @property
    def iommufd_file(self) -> Path:
        """What QEMU opens for an iommufd."""
        return self.dev / "iommu"

    def bind(self, function: PciFunction, driver: str) -> None:
        """Give the function to ``driver``; where that fails it may be left half given.

        :raise PrerequisiteMissing: we may not, or the kernel or the driver refuses
        """
        try:
            self._give(function.address, driver, driver)
        except OSError as error:
            if isinstance(error, PermissionError):
                told = "may not be bound: as root"
            else:
                told = f"the kernel does not bind it to {driver}: {error.strerror}"
            raise PrerequisiteMissing(f"{function.address}: {told}") from error

    def restore(self, address: str, driver: str, override: str) -> None:
        """Give the function back to ``driver`` (empty: none), with its ``driver_override``.

        Where it is as it was, or is no more (unplugged), nothing happens.

        :raise HarnessError: the kernel refuses
        """
        try:
            self._give(address, driver, override)
        except OSError as error:
            if not self.device(address).exists():
                return
            again = f"echo {address} > {self._driver(driver)}/bind" if driver else ""
            raise HarnessError(
                f"{address} is not given back to {driver or 'no driver'}: {error.strerror}: "
                f"as root: echo '{override}' > {self.device(address)}/driver_override; {again}"
            ) from error

    def _give(self, address: str, driver: str, override: str) -> None:
        folder = self.device(address)
        # The kernel takes an empty line for none.
        self._write(folder / "driver_override", f"{override}\n")
        now = _target(folder / "driver")
        if now == driver:
            return
        if now:
            self._write(folder / "driver" / "unbind", address)
        if driver:
            self._write(self._driver(driver) / "bind", address)

    def _drivers(self) -> list[str]:
        return sorted(path.name for path in (self.sysfs / "bus/pci/drivers").glob("*"))

    def _driver(self, name: str) -> Path:
        return self.sysfs / "bus/pci/drivers" / name


def _target(link: Path) -> str:
    """The last part of what ``link`` points to; empty: there is no such link."""
    try:
        return link.readlink().name
    except OSError:
        return ""
