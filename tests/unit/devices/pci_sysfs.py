"""A sysfs and a /dev with PCI functions, which answer as the kernel does."""

import errno
import os
from pathlib import Path

from harness.devices.pci_bus import PciBus

CARD, OTHER_CARD, DISK, BRIDGE = "0000:00:10.0", "0000:00:11.0", "0000:00:1f.2", "0000:00:1f.0"


class FakePci:
    """Two cards in groups 12 and 13 that driver ``nic`` has; a disk and a bridge in group 14."""

    def __init__(self, root: Path) -> None:
        self.sysfs = root / "sys"
        self.dev = root / "dev"
        self.devices = self.sysfs / "bus/pci/devices"
        self.drivers = self.sysfs / "bus/pci/drivers"
        self.refusals: dict[str, int] = {}
        """Name of a file -> errno of writing it."""
        self.written: list[str] = []
        (self.dev / "vfio").mkdir(parents=True)
        self.devices.mkdir(parents=True)
        for name, module in (("vfio-pci", "vfio_pci"), ("nic", "nic"), ("ahci", "ahci")):
            self.add_driver(name, module)
        holders = self.sysfs / "module/vfio_pci_core/holders"
        (holders / "vfio_pci").mkdir(parents=True)
        self.add(CARD, "12", "nic")
        self.add(OTHER_CARD, "13", "nic")
        self.add(DISK, "14", "ahci")
        self.add(BRIDGE, "14")

    @property
    def bus(self) -> PciBus:
        return PciBus(self.sysfs, self.dev, self.write)

    def add_driver(self, name: str, module: str) -> None:
        (self.drivers / name).mkdir(parents=True)
        (self.drivers / name / "module").symlink_to(f"../../../../module/{module}")

    def add(self, address: str, group: str = "", driver: str = "") -> Path:
        folder = self.devices / address
        folder.mkdir()
        (folder / "vendor").write_text("0x8086\n")
        (folder / "device").write_text("0x10d3\n")
        (folder / "driver_override").write_text("(null)\n")
        if group:
            members = self.sysfs / "kernel/iommu_groups" / group / "devices"
            members.mkdir(parents=True, exist_ok=True)
            (members / address).symlink_to(folder)
            (folder / "iommu_group").symlink_to(members.parent)
        if driver:
            self._bind(folder, driver)
        return folder

    def give_own_file(self, address: str) -> Path:
        """As a kernel with iommufd does; its path."""
        (self.devices / address / "vfio-dev/vfio3").mkdir(parents=True)
        path = self.dev / "vfio/devices/vfio3"
        path.parent.mkdir()
        path.touch()
        (self.dev / "iommu").touch()
        return path

    def state(self, address: str) -> tuple[str, str]:
        """Driver and driver_override, as the kernel shows them."""
        link = self.devices / address / "driver"
        override = (self.devices / address / "driver_override").read_text().strip()
        return link.readlink().name if link.is_symlink() else "", override

    def write(self, path: Path, text: str) -> None:
        error = self.refusals.get(path.name, 0)
        if error:
            raise OSError(error, os.strerror(error))
        if not path.parent.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if path.name == "driver_override":
            path.write_text(text.strip() + "\n" if text.strip() else "(null)\n")
        elif path.name == "unbind":
            self._unbind(self.devices / text)
        else:
            assert path.name == "bind"
            self._match(self.devices / text, path.parent.name)
        self.written.append(f"{path.name} {text.strip()}")

    def _match(self, folder: Path, driver: str) -> None:
        override = (folder / "driver_override").read_text().strip()
        if (folder / "driver").is_symlink():
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        is_vfio = "vfio" in driver
        if override != driver and (is_vfio or override != "(null)"):
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        self._bind(folder, driver)

    def _bind(self, folder: Path, driver: str) -> None:
        (folder / "driver").symlink_to(self.drivers / driver)
        if "vfio" in driver:
            (self.dev / "vfio" / (folder / "iommu_group").readlink().name).touch()

    def _unbind(self, folder: Path) -> None:
        (folder / "driver").unlink()
