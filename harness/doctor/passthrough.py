"""Whether PCI devices can be passed through, and which of them can migrate.

None of it is needed for emulated devices, so nothing here is ``missing``.
"""

import gzip
import platform
from collections.abc import Iterator
from pathlib import Path

from harness.devices import memlock as limits
from harness.devices.abilities import Ask, of_function
from harness.devices.pci_bus import PciBus
from harness.doctor.check import Check, State, optional
from harness.errors import HarnessError

MIB = 1 << 20
RAM = 64 * MIB
"""A guest's, where the scenario says nothing else."""
_ROOT = Path("/")
_ASKED = 16  # devices; a host may have hundreds of virtual functions


def all_of(bus: PciBus | None = None) -> Iterator[Check]:
    """In the order in which one builds on another."""
    there = bus if bus is not None else PciBus()
    yield iommu(there)
    yield drivers(there)
    yield iommufd(there)
    yield devices(there)
    yield memlock()


def iommu(bus: PciBus) -> Check:
    """Whether a PCI device can be passed through at all."""
    units = sorted(path.name for path in bus.sysfs.glob("class/iommu/*"))
    groups = len(list(bus.sysfs.glob("kernel/iommu_groups/*")))
    found = f"{', '.join(units)}; {groups} groups" if units else "none: no PCI passthrough"
    mend = "boot with intel_iommu=on or amd_iommu=on, switched on in the firmware"
    return optional("IOMMU", bool(units) and groups > 0, found, mend, has_rig=True)


def drivers(bus: PciBus, root: Path = _ROOT) -> Check:
    """Which drivers can offer a device to QEMU; variants are those that migrate it."""
    loaded = bus.vfio_drivers()
    found = f"loaded: {', '.join(loaded) or 'none'}"
    loadable = sorted(_loadable(root) - {name.replace("-", "_") for name in loaded})
    if loadable:
        found += f"; to be loaded: {', '.join(loadable)}"
    return optional(
        "VFIO PCI drivers", bool(loaded), found, "as root: modprobe vfio-pci", has_rig=True
    )


def _loadable(root: Path) -> set[str]:
    """Modules of the kernel's drivers/vfio/pci but its core, by modules.dep (depmod(8))."""
    path = root / "lib/modules" / platform.release() / "modules.dep"
    lines = path.read_text().splitlines() if path.exists() else []
    names = {
        Path(file).name.partition(".")[0].replace("-", "_")
        for file, _, _ in (line.partition(":") for line in lines)
        if "/drivers/vfio/pci/" in file
    }
    return names - {"vfio_pci_core"}


def iommufd(bus: PciBus, root: Path = _ROOT) -> Check:
    """Whether QEMU could use the kernel's iommufd, which tracks dirty pages from 6.7 on."""
    path = bus.iommufd_file
    if path.exists():
        files = len(list(bus.dev.glob("vfio/devices/*")))
        found = f"{path}; {files} devices with files of their own"
        return Check("iommufd", State.OK, found)
    found = f"no {path}: containers only, without dirty tracking by the IOMMU"
    config = _config(root)
    if config is not None:
        setting = next((line for line in config if "CONFIG_IOMMUFD=" in line), "")
        found += f"; {setting or 'CONFIG_IOMMUFD is not set'}"
    mend = "as root: modprobe iommufd; or a kernel with CONFIG_IOMMUFD, CONFIG_VFIO_DEVICE_CDEV"
    return Check("iommufd", State.OPTIONAL, found, mend)


def _config(root: Path) -> list[str] | None:
    """The running kernel's configuration; None: it is not shown."""
    packed = root / "proc/config.gz"
    if packed.exists():
        return gzip.decompress(packed.read_bytes()).decode().splitlines()
    release = platform.release()
    for path in (root / "boot" / f"config-{release}", root / "lib/modules" / release / "config"):
        if path.exists():
            return path.read_text().splitlines()
    return None


def devices(bus: PciBus, ask: Ask = of_function) -> Check:
    """What those can do that a driver of VFIO has now."""
    names = bus.vfio_drivers()
    bound = [function for function in bus.functions() if function.driver in names]
    told = []
    for function in bound[:_ASKED]:
        try:
            able = str(ask(bus, function, bus.device_file(function) is not None))
        except HarnessError as error:
            able = f"cannot be asked: {error}"
        told.append(f"{function.address} ({function.driver}): {able}")
    if len(bound) > _ASKED:
        told.append(f"and {len(bound) - _ASKED} more")
    found = "; ".join(told) or "none; a run binds the device that it is given"
    return optional("PCI devices of VFIO", bool(bound), found)


def memlock() -> Check:
    """Whether QEMU may pin a guest's memory, as a passed-through PCI device needs."""
    allowed, needed = limits.limit(), RAM + limits.SPARE
    if allowed is None:
        return Check("memlock", State.OK, "no limit")
    found = f"{allowed // MIB} MiB, {needed // MIB} needed"
    return optional("memlock", allowed >= needed, found, limits.mend(needed))
