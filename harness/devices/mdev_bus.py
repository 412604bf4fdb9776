"""The kernel's mediated devices (mdev), as sysfs shows them.

A parent device offers types, and each type instances: writing a UUID into the type's
``create`` makes one, writing 1 into the instance's ``remove`` ends it
(Documentation/driver-api/vfio-mediated-device.rst of the kernel).
"""

import errno
import os
from pathlib import Path

import msgspec

from harness.devices.sysfs import Sysfs
from harness.errors import HarnessError, PrerequisiteMissing


class MdevType(msgspec.Struct, frozen=True):
    """A type that a parent offers."""

    parent: str
    name: str
    """As in ``mtty-1``: the parent's driver, then the driver's own name for it."""
    folder: Path
    """Its folder in sysfs."""

    @property
    def available(self) -> int:
        """Instances that can still be made of it."""
        return int((self.folder / "available_instances").read_text())

    @property
    def device_api(self) -> str:
        """What an instance looks like to its user; QEMU's vfio-pci takes ``vfio-pci``."""
        return (self.folder / "device_api").read_text().strip()


class MdevBus(Sysfs):
    """Types and instances of the machine."""

    def types(self) -> list[MdevType]:
        """All types of all parents; none: no module is loaded that offers any."""
        return [
            MdevType(folder.parent.parent.name, folder.name, folder)
            for folder in sorted(self.sysfs.glob("class/mdev_bus/*/mdev_supported_types/*"))
        ]

    def find(self, name: str, parent: str = "") -> MdevType:
        """The type ``name``, of ``parent`` where that is given, with the most instances left.

        :raise PrerequisiteMissing: there is none, or it is no PCI device
        """
        offered = self.types()
        if not offered:
            raise PrerequisiteMissing(
                "no mdev types: no loaded module offers any: as root: modprobe mtty, "
                "or run it in the rig: vfio-multifd rig run -- ..."
            )
        fitting = [a for a in offered if a.name == name and parent in ("", a.parent)]
        if not fitting:
            asked = f"mdev type {name}" + (f" of {parent}" if parent else "")
            there = ", ".join(f"{a.name} of {a.parent}" for a in offered)
            raise PrerequisiteMissing(f"there is no {asked}; there are: {there}")
        best = max(fitting, key=lambda a: a.available)
        if best.device_api != "vfio-pci":
            raise PrerequisiteMissing(f"mdev type {name}: is {best.device_api}, not vfio-pci")
        return best

    def device(self, uuid: str) -> Path:
        """The folder of the instance ``uuid``, there or not; ``sysfsdev`` for QEMU."""
        return self.sysfs / "bus" / "mdev" / "devices" / uuid

    def group(self, uuid: str) -> Path:
        """The device file of the instance's IOMMU group, by which QEMU opens it."""
        return self.dev / "vfio" / (self.device(uuid) / "iommu_group").readlink().name

    def create(self, kind: MdevType, uuid: str) -> None:
        """Make an instance of ``kind``.

        :raise PrerequisiteMissing: the type is full, or we may not make or open instances
        """
        try:
            self._write(kind.folder / "create", uuid)
        except PermissionError as error:
            raise PrerequisiteMissing(
                f"{kind.folder}/create: may not be written: make mdev instances as root"
            ) from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EUSERS) or not kind.available:
                raise PrerequisiteMissing(
                    f"mdev type {kind.name} of {kind.parent} is full: end those who use it, "
                    f"or remove instances: echo 1 > {self.device('UUID')}/remove"
                ) from error
            raise PrerequisiteMissing(
                f"{kind.folder}/create: the kernel refuses: {error.strerror}"
            ) from error
        group = self.group(uuid)
        if not os.access(group, os.R_OK | os.W_OK):
            self.remove(uuid)
            raise PrerequisiteMissing(f"{group}: may not be opened, or is not there: as root")

    def remove(self, uuid: str) -> None:
        """Remove the instance ``uuid``, if it is there; waits until nobody has it open.

        :raise HarnessError: the kernel refuses
        """
        device = self.device(uuid)
        try:
            self._write(device / "remove", "1")
        except OSError as error:
            if device.exists():
                raise HarnessError(
                    f"mdev {uuid} is left: {error.strerror}: end what uses it, then as root: "
                    f"echo 1 > {device}/remove"
                ) from error
