"""VFIO of the kernel itself, and the rig that has it where this machine has not.

None of it is needed for emulated devices, so nothing here is ``missing``.
"""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from harness.devices.mdev_bus import DEV, SYSFS, MdevBus
from harness.doctor.check import Check, State
from harness.errors import HarnessError
from harness.rig import accelerator, image
from harness.rig.rig import is_inside
from harness.vm import builds

MIB = 1 << 20
MEMLOCK_NEEDED = 128 * MIB
"""The guest's RAM, 64 MiB by default, and QEMU's ROMs: type1 pins them for a PCI device."""
_MODULES = ("vfio", "vfio_iommu_type1", "vfio_pci", "mdev")


def all_of() -> Iterator[Check]:
    """In the order in which one builds on another."""
    yield iommu()
    yield modules()
    yield iommufd()
    yield mdev_types()
    yield memlock()
    yield rig()
    yield kvm()


def _or_rig() -> str:
    """The other way to mend what is not there, but in a rig."""
    return "" if is_inside() else ", or in a rig: vfio-multifd rig run -- COMMAND"


def _check(what: str, is_there: bool, found: str, mend: str = "") -> Check:
    state = State.OK if is_there else State.OPTIONAL
    return Check(what, state, found, "" if is_there else mend)


def iommu(sysfs: Path = SYSFS) -> Check:
    """Whether a PCI device can be passed through."""
    units = sorted(path.name for path in sysfs.glob("class/iommu/*"))
    groups = len(list(sysfs.glob("kernel/iommu_groups/*")))
    found = f"{', '.join(units)}; {groups} groups" if units else "none: no PCI passthrough"
    mend = f"boot with intel_iommu=on or amd_iommu=on, switched on in the firmware{_or_rig()}"
    return _check("IOMMU", bool(units) and groups > 0, found, mend)


def modules(sysfs: Path = SYSFS) -> Check:
    """Whether the kernel's VFIO is loaded, or built in."""
    there = [name for name in _MODULES if (sysfs / "module" / name).exists()]
    lacks = [name for name in _MODULES if name not in there]
    found = f"loaded: {', '.join(there) or 'none'}"
    mend = f"as root: modprobe -a {' '.join(lacks)}{_or_rig()}"
    return _check("VFIO modules", not lacks, found, mend)


def iommufd(dev: Path = DEV) -> Check:
    """Whether QEMU could use the kernel's iommufd (CONFIG_IOMMUFD), with dirty tracking."""
    path = dev / "iommu"
    is_there = path.exists()
    return _check("iommufd", is_there, str(path) if is_there else f"no {path}: containers only")


def mdev_types(bus: MdevBus | None = None) -> Check:
    """What mdev instances can be made here."""
    types = (bus if bus is not None else MdevBus()).types()
    found = ", ".join(f"{a.name} of {a.parent} ({a.available} left)" for a in types)
    return _check("mdev types", bool(types), found or "none", f"as root: modprobe mtty{_or_rig()}")


def memlock() -> Check:
    """Whether QEMU may pin a guest's memory, as a passed-through PCI device needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    is_free = os.geteuid() == 0 or soft == resource.RLIM_INFINITY
    found = "no limit" if is_free else f"{soft // MIB} MiB, {MEMLOCK_NEEDED // MIB} needed"
    needs_root = 0 <= hard < MEMLOCK_NEEDED
    mend = f"ulimit -l {MEMLOCK_NEEDED >> 10}" + (", as root" if needs_root else "")
    return _check("memlock", is_free or soft >= MEMLOCK_NEEDED, found, mend)


def rig() -> Check:
    """Whether the rig is built."""
    try:
        built = image.find()
    except HarnessError as error:
        return Check("rig", State.OPTIONAL, str(error), image.BUILD)
    return Check("rig", State.OK, f"Linux {built.kernel}, virtme-ng {built.virtme_ng}")


def kvm() -> Check:
    """Whether KVM boots the rig's kernel, by what a rig's boot has found out."""
    what = "KVM"
    if not os.access(accelerator.DEVICE, os.R_OK | os.W_OK):
        return Check(what, State.OPTIONAL, f"no {accelerator.DEVICE} for us: the rig runs by TCG")
    try:
        probe = accelerator.remembered(builds.find(), image.find())
    except HarnessError:
        probe = None
    if probe is None:
        found = f"{accelerator.DEVICE} is there; whether it boots a kernel is not known yet"
        return Check(what, State.OPTIONAL, found, "vfio-multifd rig run -- true")
    return _check(what, probe.boots, probe.found)
