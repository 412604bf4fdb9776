"""A sysfs and a /dev with mdev types, which answer as the kernel does."""

import errno
import os
from pathlib import Path

from harness.devices.mdev_bus import MdevBus


class FakeKernel:
    """Has as many ports as given, of which ``mtty-1`` takes one and ``mtty-2`` two."""

    def __init__(self, root: Path, ports: int = 4) -> None:
        self.sysfs = root / "sys"
        self.dev = root / "dev"
        self.types = self.sysfs / "class/mdev_bus/mtty/mdev_supported_types"
        self.devices = self.sysfs / "bus/mdev/devices"
        self.ports = ports
        self.error_on_remove = 0
        self.refusal = 0
        self._sizes: dict[str, int] = {}
        (self.dev / "vfio").mkdir(parents=True)
        self.devices.mkdir(parents=True)
        for name in ("mtty-1", "mtty-2"):
            (self.types / name).mkdir(parents=True)
            (self.types / name / "device_api").write_text("vfio-pci\n")
            (self.types / name / "create").touch()
        self._count()

    @property
    def bus(self) -> MdevBus:
        return MdevBus(self.sysfs, self.dev, self.write)

    @property
    def uuids(self) -> set[str]:
        """The instances that are there."""
        return {path.name for path in self.devices.iterdir()}

    def write(self, path: Path, text: str) -> None:
        if path.name == "create":
            self._create(text, size=int(path.parent.name[-1]))
        else:
            self._remove(path.parent)
        self._count()

    def _create(self, uuid: str, size: int) -> None:
        if self.refusal:
            raise OSError(self.refusal, os.strerror(self.refusal))
        if size > self.ports:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.ports -= size
        self._sizes[uuid] = size
        (self.devices / uuid).mkdir()
        group = str(len(self._sizes))
        (self.devices / uuid / "iommu_group").symlink_to(f"../../../kernel/iommu_groups/{group}")
        (self.dev / "vfio" / group).touch()

    def _remove(self, device: Path) -> None:
        if not device.exists():
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        if self.error_on_remove:
            raise OSError(self.error_on_remove, os.strerror(self.error_on_remove))
        (device / "iommu_group").unlink()
        device.rmdir()
        self.ports += self._sizes[device.name]

    def _count(self) -> None:
        for folder in self.types.iterdir():
            left = self.ports // int(folder.name[-1])
            (folder / "available_instances").write_text(f"{left}\n")
