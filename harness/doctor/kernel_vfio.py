"""Modules and mediated devices of the kernel's VFIO, and the rig that has them where this
machine has not.

None of it is needed for emulated devices, so nothing here is ``missing``.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from harness.devices.mdev_bus import MdevBus
from harness.devices.sysfs import SYSFS
from harness.doctor.check import Check, State, optional
from harness.errors import HarnessError
from harness.rig import accelerator, image
from harness.rig.rig import is_inside
from harness.vm import builds

_MODULES = ("vfio", "vfio_iommu_type1", "vfio_pci", "mdev")


def all_of() -> Iterator[Check]:
    """In the order in which one builds on another."""
    yield modules()
    yield mdev_types()
    yield rig()
    yield kvm()


def modules(sysfs: Path = SYSFS) -> Check:
    """Whether the kernel's VFIO is loaded, or built in."""
    there = [name for name in _MODULES if (sysfs / "module" / name).exists()]
    lacks = [name for name in _MODULES if name not in there]
    found = f"loaded: {', '.join(there) or 'none'}"
    mend = f"as root: modprobe -a {' '.join(lacks)}"
    return optional("VFIO modules", not lacks, found, mend, has_rig=True)


def mdev_types(bus: MdevBus | None = None) -> Check:
    """What mdev instances can be made here."""
    types = (bus if bus is not None else MdevBus()).types()
    found = ", ".join(f"{a.name} of {a.parent} ({a.available} left)" for a in types) or "none"
    return optional("mdev types", bool(types), found, "as root: modprobe mtty", has_rig=True)


def rig() -> Check:
    """Whether the rig is built."""
    if is_inside():
        return Check("rig", State.OK, "this is one")
    try:
        built = image.find()
    except HarnessError as error:
        return Check("rig", State.OPTIONAL, str(error), image.BUILD)
    return Check("rig", State.OK, f"Linux {built.kernel}, virtme-ng {built.virtme_ng}")


def kvm() -> Check:
    """Whether KVM boots the rig's kernel: tried once a boot of this machine, remembered."""
    what = "KVM"
    if not os.access(accelerator.DEVICE, os.R_OK | os.W_OK):
        return Check(what, State.OPTIONAL, f"no {accelerator.DEVICE} for us: the rig runs by TCG")
    try:
        probe = accelerator.probe(builds.find(), image.find())
    except HarnessError as error:
        return Check(what, State.OPTIONAL, f"{accelerator.DEVICE} is there, but not tried: {error}")
    return optional(
        what, probe.boots, probe.found + ("" if probe.boots else "; the rig runs by TCG")
    )
