"""The machine's PCI functions, as sysfs shows them, and the drivers that they are bound to.

A function is bound to a driver by its ``driver_override`` and the driver's ``bind``
(Documentation/ABI/testing/sysfs-bus-pci of the kernel).  A VFIO driver then offers it to QEMU
(Documentation/driver-api/vfio.rst).
"""

import platform
from pathlib import Path

import msgspec

from harness.devices.sysfs import Sysfs
from harness.errors import HarnessError, PrerequisiteMissing

VFIO_PCI = "vfio-pci"
ENABLE_IOMMU = "boot with intel_iommu=on (or amd_iommu=on) and enable the IOMMU in firmware setup"
_NO_DMA = ("", "pci-stub", "pcieport")
"""Drivers whose devices do not keep VFIO from using the IOMMU group: they start no DMA
(driver_managed_dma of struct pci_driver)."""


class PciFunction(msgspec.Struct, frozen=True):
    """One function, as it was when it was read."""

    address: str
    kind: str
    """Vendor and device, like ``8086:10d3``."""
    driver: str
    """The driver that it is bound to; empty if none."""
    override: str
    """Its ``driver_override``; empty if none."""
    group: str
    """Number of its IOMMU group; empty if it is in none."""


class PciBus(Sysfs):
    """The functions of the machine, and their drivers."""

    def device(self, address: str) -> Path:
        """The directory of the function, which need not exist."""
        return self.sysfs / "bus/pci/devices" / address

    def function(self, address: str) -> PciFunction:
        """The function at the full ``address``.

        :raise PrerequisiteMissing: there is none
        """
        folder = self.device(address)
        if not folder.exists():
            raise PrerequisiteMissing(f"no PCI device {address} (list them with `lspci -D`)")
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

        They use the module ``vfio_pci_core``; if that is built in, they are known by their names.
        """
        modules = {path.name for path in (self.sysfs / "module/vfio_pci_core/holders").glob("*")}
        return [
            name
            for name in self._drivers()
            if "vfio" in name or _target(self._driver(name) / "module") in modules
        ]

    def require_driver(self, name: str) -> None:
        """Refuse a driver that cannot offer a function to QEMU.

        :raise PrerequisiteMissing: it is not loaded, or not a VFIO driver
        """
        if name not in self._drivers():
            raise PrerequisiteMissing(
                f"PCI driver {name} is not loaded: run `modprobe {name}` as root "
                f"(this is Linux {platform.release()})"
            )
        there = self.vfio_drivers()
        if name not in there:
            raise PrerequisiteMissing(
                f"{name} is not a VFIO driver; loaded VFIO drivers: {', '.join(there) or 'none'}"
            )

    def require_group(self, function: PciFunction) -> None:
        """Refuse a function whose IOMMU group QEMU cannot use.

        :raise PrerequisiteMissing: it is in no group, or shares it with a device in use
        """
        if not function.group:
            raise PrerequisiteMissing(f"{function.address} is in no IOMMU group: {ENABLE_IOMMU}")
        allowed = {*_NO_DMA, *self.vfio_drivers()}
        for other in self.members(function.group):
            if other.address != function.address and other.driver not in allowed:
                raise PrerequisiteMissing(
                    f"{function.address} shares IOMMU group {function.group} with "
                    f"{other.address}, which is bound to {other.driver}: unbind that one as well, "
                    "or use another slot"
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
        """Its own device file, for iommufd (Linux 6.6 on); None if the kernel has none."""
        for folder in sorted((self.device(function.address) / "vfio-dev").glob("vfio*")):
            path = self.dev / "vfio/devices" / folder.name
            return path if path.exists() and self.iommufd_file.exists() else None
        return None

    @property
    def iommufd_file(self) -> Path:
        """The device file that QEMU opens for an iommufd."""
        return self.dev / "iommu"

    def bind(self, function: PciFunction, driver: str) -> None:
        """Bind the function to ``driver``; if that fails, it may be left unbound.

        :raise PrerequisiteMissing: permission is denied, or the kernel or the driver refuses
        """
        try:
            self._give(function.address, driver, driver)
        except OSError as error:
            if isinstance(error, PermissionError):
                why = "permission denied: run as root"
            else:
                why = str(error.strerror)
            raise PrerequisiteMissing(
                f"cannot bind {function.address} to {driver}: {why}"
            ) from error

    def restore(self, address: str, driver: str, override: str) -> None:
        """Give the function back to ``driver`` (empty: to none), with its ``driver_override``.

        Does nothing if that is its state, or if it is gone (unplugged).

        :raise HarnessError: the kernel refuses
        """
        try:
            self._give(address, driver, override)
        except OSError as error:
            if not self.device(address).exists():
                return
            again = f"echo {address} > {self._driver(driver)}/bind" if driver else ""
            raise HarnessError(
                f"cannot give {address} back to {driver or 'no driver'}: {error.strerror}: "
                f"run as root: echo '{override}' > {self.device(address)}/driver_override; {again}"
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
    """The last part of what ``link`` points to; empty if there is no such link."""
    try:
        return link.readlink().name
    except OSError:
        return ""
