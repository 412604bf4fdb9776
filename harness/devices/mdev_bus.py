"""The kernel's mediated devices (mdev), as sysfs shows them.

A parent device offers types, and each type has instances.  Writing a UUID into the type's
``create`` makes an instance; writing 1 into the instance's ``remove`` removes it
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
    """Like ``mtty-1``: the parent's driver and the driver's name of the type."""
    folder: Path
    """Its directory in sysfs."""

    @property
    def available(self) -> int:
        """Instances that can still be made."""
        return int((self.folder / "available_instances").read_text())

    @property
    def device_api(self) -> str:
        """The interface of an instance; QEMU's vfio-pci takes ``vfio-pci``."""
        return (self.folder / "device_api").read_text().strip()


class MdevBus(Sysfs):
    """Types and instances of the machine."""

    def types(self) -> list[MdevType]:
        """All types of all parents; empty if no loaded module offers any."""
        return [
            MdevType(folder.parent.parent.name, folder.name, folder)
            for folder in sorted(self.sysfs.glob("class/mdev_bus/*/mdev_supported_types/*"))
        ]

    def find(self, name: str, parent: str = "") -> MdevType:
        """The type ``name`` (of ``parent``, if given) with the most instances left.

        :raise PrerequisiteMissing: there is no such type, or it is not a PCI device
        """
        offered = self.types()
        if not offered:
            raise PrerequisiteMissing(
                "no loaded module offers mdev types: run `modprobe mtty` as root, "
                "or run this in the rig (vfio-multifd rig run -- COMMAND)"
            )
        fitting = [a for a in offered if a.name == name and parent in ("", a.parent)]
        if not fitting:
            asked = f"mdev type {name}" + (f" of {parent}" if parent else "")
            there = ", ".join(f"{a.name} of {a.parent}" for a in offered)
            raise PrerequisiteMissing(f"no {asked}; available types: {there}")
        best = max(fitting, key=lambda a: a.available)
        if best.device_api != "vfio-pci":
            raise PrerequisiteMissing(
                f"mdev type {name} is not a PCI device: its device_api is {best.device_api}"
            )
        return best

    def device(self, uuid: str) -> Path:
        """The directory of the instance ``uuid``, which need not exist; QEMU's ``sysfsdev``."""
        return self.sysfs / "bus" / "mdev" / "devices" / uuid

    def group(self, uuid: str) -> Path:
        """The device file of the instance's IOMMU group, which QEMU opens."""
        return self.dev / "vfio" / (self.device(uuid) / "iommu_group").readlink().name

    def create(self, kind: MdevType, uuid: str) -> None:
        """Make an instance of ``kind``.

        :raise PrerequisiteMissing: no instance is left, or permission is denied
        """
        try:
            self._write(kind.folder / "create", uuid)
        except PermissionError as error:
            raise PrerequisiteMissing(
                f"{kind.folder}/create: permission denied: run as root"
            ) from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EUSERS) or not kind.available:
                raise PrerequisiteMissing(
                    f"mdev type {kind.name} of {kind.parent} has no instance left: end "
                    f"processes that use one, or run: echo 1 > {self.device('UUID')}/remove"
                ) from error
            raise PrerequisiteMissing(f"{kind.folder}/create: {error.strerror}") from error
        group = self.group(uuid)
        if not os.access(group, os.R_OK | os.W_OK):
            self.remove(uuid)
            raise PrerequisiteMissing(f"cannot open {group}: run as root")

    def remove(self, uuid: str) -> None:
        """Remove the instance ``uuid``, if it exists; waits until no process has it open.

        :raise HarnessError: the kernel refuses
        """
        device = self.device(uuid)
        try:
            self._write(device / "remove", "1")
        except OSError as error:
            if device.exists():
                raise HarnessError(
                    f"mdev {uuid} was not removed: {error.strerror}: end the process that uses it, "
                    f"then run as root: echo 1 > {device}/remove"
                ) from error
