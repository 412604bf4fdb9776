"""Numbers and layouts against the kernel's structures, written out here once more as C has them."""

import ctypes
import struct
from ctypes import c_int32, c_uint32, c_uint64

import pytest

from harness.vfio import uapi

U32, S32, U64 = c_uint32, c_int32, c_uint64

# The fields of each structure of vfio.h and iommufd.h, which C lays out by its own rules.
STRUCTURES = {
    "DEVICE_INFO": (U32,) * 6,
    "REGION_INFO": (U32, U32, U32, U32, U64, U64),
    "IRQ_INFO": (U32,) * 4,
    "IRQ_SET": (U32,) * 5,
    "BIND_IOMMUFD": (U32, U32, S32, U32),
    "FEATURE_HEADER": (U32, U32),
    "GROUP_STATUS": (U32, U32),
    "MIGRATION": (U64,),
    "MIG_STATE": (U32, S32),
    "MIG_DATA_SIZE": (U64,),
    "DMA_LOGGING_CONTROL": (U64, U32, U32, U64),
    "DMA_LOGGING_REPORT": (U64,) * 4,
    "DMA_LOGGING_RANGE": (U64, U64),
    "PRECOPY_INFO": (U32, U32, U64, U64),
    "IOMMU_DESTROY": (U32, U32),
    "IOAS_ALLOC": (U32, U32, U32),
    "IOVA_RANGES": (U32, U32, U32, U32, U64, U64),
    "IOVA_RANGE": (U64, U64),
    "IOAS_MAP": (U32, U32, U32, U32, U64, U64, U64),
    "IOAS_MAP_FILE": (U32, U32, U32, S32, U64, U64, U64),
    "IOAS_UNMAP": (U32, U32, U64, U64),
    "HWPT_ALLOC": (*(U32,) * 8, U64, U32, U32),
    "ATTACH_IOMMUFD_PT": (U32, U32, U32),
    "SET_DIRTY_TRACKING": (U32,) * 4,
    "GET_DIRTY_BITMAP": (*(U32,) * 4, *(U64,) * 4),
    "HW_INFO": (U32, U32, U32, U32, U64, U32, U32, U64),
}

VFIO_BASE = 100
IOCTLS = {
    "DEVICE_GET_INFO": 7,
    "DEVICE_GET_REGION_INFO": 8,
    "DEVICE_GET_IRQ_INFO": 9,
    "DEVICE_SET_IRQS": 10,
    "DEVICE_RESET": 11,
    "DEVICE_GET_PCI_HOT_RESET_INFO": 12,
    "DEVICE_PCI_HOT_RESET": 13,
    "DEVICE_FEATURE": 17,
    "DEVICE_BIND_IOMMUFD": 18,
    "DEVICE_ATTACH_IOMMUFD_PT": 19,
    "DEVICE_DETACH_IOMMUFD_PT": 20,
    "MIG_GET_PRECOPY_INFO": 21,
}
IOMMUFD_IOCTLS = {
    "DESTROY": 0x80,
    "IOAS_ALLOC": 0x81,
    "IOAS_IOVA_RANGES": 0x84,
    "IOAS_MAP": 0x85,
    "IOAS_UNMAP": 0x86,
    "HWPT_ALLOC": 0x89,
    "GET_HW_INFO": 0x8A,
    "HWPT_SET_DIRTY_TRACKING": 0x8B,
    "HWPT_GET_DIRTY_BITMAP": 0x8C,
    "IOAS_MAP_FILE": 0x8F,
    "IOAS_CHANGE_PROCESS": 0x92,
}
CONTAINER_IOCTLS = {
    "SET_IOMMU": 2,
    "GROUP_GET_STATUS": 3,
    "GROUP_SET_CONTAINER": 4,
    "GROUP_GET_DEVICE_FD": 6,
}
ENUMS = {
    uapi.Container: {name: VFIO_BASE + number for name, number in CONTAINER_IOCTLS.items()},
    uapi.Vfio: {name: VFIO_BASE + number for name, number in IOCTLS.items()},
    uapi.Iommufd: IOMMUFD_IOCTLS,
    uapi.Feature: {
        "MIGRATION": 1,
        "MIG_DEVICE_STATE": 2,
        "DMA_LOGGING_START": 6,
        "DMA_LOGGING_STOP": 7,
        "DMA_LOGGING_REPORT": 8,
        "MIG_DATA_SIZE": 9,
        "MIG_PRECOPY_INFOV2": 12,
    },
    uapi.MigrationFlag: {"STOP_COPY": 1, "P2P": 2, "PRE_COPY": 4},
    uapi.DeviceState: {
        "ERROR": 0,
        "STOP": 1,
        "RUNNING": 2,
        "STOP_COPY": 3,
        "RESUMING": 4,
        "RUNNING_P2P": 5,
        "PRE_COPY": 6,
        "PRE_COPY_P2P": 7,
    },
    uapi.Region: {"BAR0": 0, "BAR1": 1, "ROM": 6, "CONFIG": 7, "VGA": 8},
    uapi.Irq: {"INTX": 0, "MSI": 1, "MSIX": 2, "ERR": 3, "REQ": 4},
}


def structure(fields):
    members = [(f"f{number}", kind) for number, kind in enumerate(fields)]
    return type("Structure", (ctypes.LittleEndianStructure,), {"_fields_": members})


def layouts():
    return {name for name, value in vars(uapi).items() if isinstance(value, struct.Struct)}


def test_every_layout_is_checked_here():
    assert layouts() == set(STRUCTURES)


@pytest.mark.parametrize("name", sorted(STRUCTURES))
def test_layout_is_as_c_has_it(name):
    layout: struct.Struct = getattr(uapi, name)
    c_structure = structure(STRUCTURES[name])
    assert layout.size == ctypes.sizeof(c_structure)
    values = [(1 << 30) + number for number in range(len(STRUCTURES[name]))]
    in_c = bytes(c_structure(*values))
    unpacked = list(layout.unpack(in_c))
    assert unpacked == values[: len(unpacked)]
    assert len(unpacked) == len(values) or name == "DEVICE_INFO", "only its padding is left out"
    assert layout.pack(*unpacked)[: len(in_c) - 4] == in_c[:-4]


@pytest.mark.parametrize("name", ["MIG_STATE", "BIND_IOMMUFD", "IOAS_MAP_FILE"])
def test_descriptors_are_signed(name):
    layout: struct.Struct = getattr(uapi, name)
    assert -1 in layout.unpack(b"\xff" * layout.size)


@pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: enum.__name__)
def test_numbers_are_the_kernels(enum):
    assert {member.name: member.value for member in enum} == ENUMS[enum]


def test_masks_and_flags_are_the_kernels():
    assert (uapi.FEATURE_MASK, uapi.FEATURE_GET) == (0xFFFF, 1 << 16)
    assert (uapi.FEATURE_SET, uapi.FEATURE_PROBE) == (1 << 17, 1 << 18)
    assert (uapi.DEVICE_FLAGS_RESET, uapi.DEVICE_FLAGS_PCI) == (1, 2)
    assert (uapi.REGION_READ, uapi.REGION_WRITE, uapi.REGION_MMAP) == (1, 2, 4)
    assert (uapi.IRQ_EVENTFD, uapi.IRQ_NORESIZE) == (1, 8)
    assert (uapi.IRQ_SET_DATA_NONE, uapi.IRQ_SET_DATA_EVENTFD, uapi.IRQ_SET_DATA) == (1, 4, 7)
    assert (uapi.IRQ_SET_ACTION_TRIGGER, uapi.IRQ_SET_ACTION) == (32, 56)
    assert (uapi.NUM_REGIONS, uapi.NUM_IRQS) == (9, 5)
    assert uapi.REGION_SHIFT == 40


def test_ioctl_type_is_the_letter_that_the_filter_looks_for():
    assert (uapi.IOCTL_TYPE, uapi.IOCTL_TYPE_SHIFT) == (0x3B, 8)


def test_layout_of_another_size_than_the_kernels_is_refused():
    with pytest.raises(AssertionError, match="has 8 bytes, the kernel's has 12"):
        uapi._layout("2I", 12)
