"""What a device can do, as its driver reports it: whether it migrates, and how.

The driver is asked as QEMU asks it, by VFIO_DEVICE_FEATURE (include/uapi/linux/vfio.h), on a
descriptor of the device that is closed at once.
"""

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec

from harness.devices.in_use import openers
from harness.devices.pci_bus import PciBus, PciFunction
from harness.errors import PrerequisiteMissing
from harness.scenario import Abilities
from harness.vfio import uapi
from harness.vfio.uapi import Container, Feature, Iommufd, MigrationFlag, Vfio

Ioctl = Callable[[int, int, bytearray | int], int]
"""``ioctl()``: a descriptor, the low byte of the number, a structure or an integer."""


_UNSAFE = "the IOMMU does not remap interrupts: enable interrupt remapping in firmware setup"
"""What EPERM of VFIO_SET_IOMMU means (vfio_iommu_type1.c, allow_unsafe_interrupts)."""


Ask = Callable[[PciBus, PciFunction, bool], Abilities]


def of_function(bus: PciBus, function: PciFunction, has_iommufd: bool) -> Abilities:
    """Abilities of a function that is bound to a VFIO driver, by iommufd or by its group.

    :raise PrerequisiteMissing: it cannot be opened, or is in use
    """
    own = bus.device_file(function)
    if has_iommufd and own is not None:
        return by_iommufd(function.address, own, bus.iommufd_file)
    return by_group(function.address, bus.group_file(function))


def _ioctl(fd: int, number: int, argument: bytearray | int) -> int:
    return fcntl.ioctl(fd, uapi.IOCTL_TYPE << uapi.IOCTL_TYPE_SHIFT | number, argument)


def by_group(name: str, group: Path, ioctl: Ioctl = _ioctl) -> Abilities:
    """Abilities of ``name`` (PCI address or UUID) in the IOMMU group with the file ``group``.

    :raise PrerequisiteMissing: it cannot be opened, is in use, or has no IOMMU
    """
    with contextlib.ExitStack() as stack:
        container = _open(name, group.with_name("vfio"), stack)
        opened = _open(name, group, stack)
        try:
            status = bytearray(uapi.GROUP_STATUS.pack(uapi.GROUP_STATUS.size, 0))
            ioctl(opened, Container.GROUP_GET_STATUS, status)
            if not uapi.GROUP_STATUS.unpack(status)[1] & uapi.GROUP_FLAGS_VIABLE:
                raise PrerequisiteMissing(
                    f"{name}: IOMMU group {group.name} is not viable: "
                    "one of its devices is bound to a driver outside VFIO"
                )
            ioctl(opened, Container.GROUP_SET_CONTAINER, bytearray(struct.pack("i", container)))
            ioctl(container, Container.SET_IOMMU, uapi.TYPE1V2_IOMMU)
            device = ioctl(opened, Container.GROUP_GET_DEVICE_FD, bytearray(name.encode() + b"\0"))
        except OSError as error:
            why = _UNSAFE if error.errno == errno.EPERM else str(error.strerror)
            raise PrerequisiteMissing(
                f"{name}: cannot open the device through {group}: {why}"
            ) from error
        stack.callback(os.close, device)
        return of_device(device, ioctl)


def by_iommufd(name: str, device: Path, iommufd: Path, ioctl: Ioctl = _ioctl) -> Abilities:
    """Abilities of the device with the file ``device``, like ``/dev/vfio/devices/vfio0``.

    :raise PrerequisiteMissing: it cannot be opened, or is in use
    """
    with contextlib.ExitStack() as stack:
        opened = _open(name, device, stack)
        return of_bound(name, opened, _open(name, iommufd, stack), ioctl)


def of_bound(name: str, device: int, iommufd: int, ioctl: Ioctl = _ioctl) -> Abilities:
    """Abilities of the descriptor ``device``, which is bound to ``iommufd`` first.

    :raise PrerequisiteMissing: the kernel does not bind it
    """
    binding = bytearray(uapi.BIND_IOMMUFD.pack(uapi.BIND_IOMMUFD.size, 0, iommufd, 0))
    try:
        ioctl(device, Vfio.DEVICE_BIND_IOMMUFD, binding)
    except OSError as error:
        raise PrerequisiteMissing(
            f"{name}: cannot bind the device to an iommufd: {error.strerror}"
        ) from error
    dev_id = uapi.BIND_IOMMUFD.unpack(binding)[3]
    info = bytearray(uapi.HW_INFO.pack(uapi.HW_INFO.size, 0, dev_id, *[0] * 5))
    try:
        ioctl(iommufd, Iommufd.GET_HW_INFO, info)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY):
            raise
    tracks = bool(uapi.HW_INFO.unpack(info)[-1] & uapi.HW_CAP_DIRTY_TRACKING)
    return msgspec.structs.replace(of_device(device, ioctl), iommu_tracking=tracks)


def of_device(device: int, ioctl: Ioctl = _ioctl) -> Abilities:
    """Abilities of the descriptor ``device``."""
    size = uapi.FEATURE_HEADER.size + uapi.MIGRATION.size
    header = uapi.FEATURE_HEADER.pack(size, uapi.FEATURE_GET | Feature.MIGRATION)
    answer = bytearray(header + bytes(uapi.MIGRATION.size))
    flags = MigrationFlag(0)
    if _has(device, answer, ioctl):
        flags = MigrationFlag(*uapi.MIGRATION.unpack_from(answer, uapi.FEATURE_HEADER.size))
    wanted = uapi.FEATURE_PROBE | Feature.DMA_LOGGING_START
    probe = bytearray(uapi.FEATURE_HEADER.pack(uapi.FEATURE_HEADER.size, wanted))
    return Abilities(
        stop_copy=MigrationFlag.STOP_COPY in flags,
        p2p=MigrationFlag.P2P in flags,
        pre_copy=MigrationFlag.PRE_COPY in flags,
        dma_logging=_has(device, probe, ioctl),
    )


def _has(device: int, feature: bytearray, ioctl: Ioctl) -> bool:
    try:
        ioctl(device, Vfio.DEVICE_FEATURE, feature)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL):
            return False
        raise
    return True


def _open(name: str, path: Path, stack: contextlib.ExitStack) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError as error:
        raise PrerequisiteMissing(
            f"{name}: cannot open {path}: permission denied: run as root"
        ) from error
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise PrerequisiteMissing(f"{name}: cannot open {path}: {error.strerror}") from error
        who = ", ".join(map(str, openers(path))) or "another process"
        raise PrerequisiteMissing(f"{name} is in use: end {who}, which has {path} open") from error
    stack.callback(os.close, fd)
    return fd
