"""Modules and mediated devices of the kernel's VFIO, and the rig, which has both.

Emulated devices need none of it, so no result here is ``missing``.
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
    """Each after those that it builds on."""
    yield modules()
    yield mdev_types()
    yield rig()
    yield kvm()


def modules(sysfs: Path = SYSFS) -> Check:
    """Whether the kernel's VFIO is loaded, or built in."""
    there = [name for name in _MODULES if (sysfs / "module" / name).exists()]
    lacks = [name for name in _MODULES if name not in there]
    found = f"loaded: {', '.join(there) or 'none'}"
    fix = f"run as root: modprobe -a {' '.join(lacks)}"
    return optional("VFIO modules", not lacks, found, fix, has_rig=True)


def mdev_types(bus: MdevBus | None = None) -> Check:
    """Which mdev instances can be made here."""
    types = (bus if bus is not None else MdevBus()).types()
    found = ", ".join(f"{a.name} of {a.parent} ({a.available} left)" for a in types) or "none"
    return optional("mdev types", bool(types), found, "run as root: modprobe mtty", has_rig=True)


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
    """Whether KVM boots the rig's kernel: tried once for each boot of this machine."""
    what = "KVM"
    if not os.access(accelerator.DEVICE, os.R_OK | os.W_OK):
        return Check(what, State.OPTIONAL, f"no access to {accelerator.DEVICE}; the rig uses TCG")
    try:
        probe = accelerator.probe(builds.find(), image.find())
    except HarnessError as error:
        return Check(
            what, State.OPTIONAL, f"{accelerator.DEVICE} exists, but was not tried: {error}"
        )
    return optional(what, probe.boots, probe.found + ("" if probe.boots else "; the rig uses TCG"))
