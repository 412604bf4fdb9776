"""Whether PCI devices can be passed through, and which of them can migrate.

Emulated devices need none of it, so no result here is ``missing``.
"""

import gzip
import platform
from collections.abc import Iterator
from pathlib import Path

from harness.devices import memlock as limits
from harness.devices.abilities import Ask, of_function
from harness.devices.pci_bus import ENABLE_IOMMU, PciBus
from harness.doctor.check import Check, State, optional
from harness.errors import HarnessError

MIB = 1 << 20
RAM = 64 * MIB
"""A guest's, by default."""
_ROOT = Path("/")
_ASKED = 16  # devices; a host may have hundreds of virtual functions


def all_of(bus: PciBus | None = None) -> Iterator[Check]:
    """Each after those that it builds on."""
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
    return optional("IOMMU", bool(units) and groups > 0, found, ENABLE_IOMMU, has_rig=True)


def drivers(bus: PciBus, root: Path = _ROOT) -> Check:
    """Which drivers can offer a device to QEMU; variant drivers can migrate it."""
    loaded = bus.vfio_drivers()
    found = f"loaded: {', '.join(loaded) or 'none'}"
    loadable = sorted(_loadable(root) - {name.replace("-", "_") for name in loaded})
    if loadable:
        found += f"; not loaded: {', '.join(loadable)}"
    return optional(
        "VFIO PCI drivers", bool(loaded), found, "run as root: modprobe vfio-pci", has_rig=True
    )


def _loadable(root: Path) -> set[str]:
    """Modules of drivers/vfio/pci except the core, from modules.dep (depmod(8))."""
    path = root / "lib/modules" / platform.release() / "modules.dep"
    lines = path.read_text().splitlines() if path.exists() else []
    names = {
        Path(file).name.partition(".")[0].replace("-", "_")
        for file, _, _ in (line.partition(":") for line in lines)
        if "/drivers/vfio/pci/" in file
    }
    return names - {"vfio_pci_core"}


def iommufd(bus: PciBus, root: Path = _ROOT) -> Check:
    """Whether QEMU can use the kernel's iommufd, which tracks dirty pages from 6.7 on."""
    path = bus.iommufd_file
    if path.exists():
        files = len(list(bus.dev.glob("vfio/devices/*")))
        found = f"{path}; devices with a device file: {files}"
        return Check("iommufd", State.OK, found)
    found = f"no {path}: VFIO containers only, without dirty tracking by the IOMMU"
    config = _config(root)
    if config is not None:
        setting = next((line for line in config if "CONFIG_IOMMUFD=" in line), "")
        found += f"; {setting or 'CONFIG_IOMMUFD is not set'}"
    fix = (
        "run as root: modprobe iommufd, or boot a kernel with CONFIG_IOMMUFD and "
        "CONFIG_VFIO_DEVICE_CDEV"
    )
    return Check("iommufd", State.OPTIONAL, found, fix)


def _config(root: Path) -> list[str] | None:
    """The running kernel's configuration; None if there is no file of it."""
    packed = root / "proc/config.gz"
    if packed.exists():
        return gzip.decompress(packed.read_bytes()).decode().splitlines()
    release = platform.release()
    for path in (root / "boot" / f"config-{release}", root / "lib/modules" / release / "config"):
        if path.exists():
            return path.read_text().splitlines()
    return None


def devices(bus: PciBus, ask: Ask = of_function) -> Check:
    """What the devices can do that are bound to a VFIO driver now."""
    names = bus.vfio_drivers()
    bound = [function for function in bus.functions() if function.driver in names]
    lines = []
    for function in bound[:_ASKED]:
        try:
            able = str(ask(bus, function, bus.device_file(function) is not None))
        except HarnessError as error:
            able = f"not known: {error}"
        lines.append(f"{function.address} ({function.driver}): {able}")
    if len(bound) > _ASKED:
        lines.append(f"and {len(bound) - _ASKED} more")
    found = "; ".join(lines) or "none bound; a run binds the device that it is given"
    return optional("PCI devices of VFIO", bool(bound), found)


def memlock() -> Check:
    """Whether QEMU may pin a guest's memory, as a passed-through PCI device needs."""
    allowed, needed = limits.limit(), RAM + limits.SPARE
    if allowed is None:
        return Check("memlock", State.OK, "no limit")
    found = f"{allowed // MIB} MiB, {needed // MIB} needed"
    return optional("memlock", allowed >= needed, found, limits.how_to_raise(needed))
