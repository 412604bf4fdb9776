"""Numbers and structures of the VFIO and iommufd uAPI.

Source: ``include/uapi/linux/vfio.h``, ``include/uapi/linux/iommufd.h`` and
``include/uapi/linux/pci_regs.h`` of Linux; all little-endian, as on the hosts that
QEMU's VFIO runs on.  Each layout's size is asserted, because the kernel's ``argsz``
and ``size`` fields are compared with it.
"""

import enum
import struct
from typing import Final

IOCTL_TYPE: Final = ord(";")  # VFIO_TYPE and IOMMUFD_TYPE are the same letter
IOCTL_TYPE_SHIFT: Final = 8  # _IOC_TYPESHIFT


class Container(enum.IntEnum):
    """Ioctls on a container (``/dev/vfio/vfio``) and on a group's device file."""

    SET_IOMMU = 102
    GROUP_GET_STATUS = 103
    GROUP_SET_CONTAINER = 104
    GROUP_GET_DEVICE_FD = 106


class Vfio(enum.IntEnum):
    """Ioctls on a device fd: ``_IO(VFIO_TYPE, VFIO_BASE + n)``."""

    DEVICE_GET_INFO = 107
    DEVICE_GET_REGION_INFO = 108
    DEVICE_GET_IRQ_INFO = 109
    DEVICE_SET_IRQS = 110
    DEVICE_RESET = 111
    DEVICE_GET_PCI_HOT_RESET_INFO = 112
    DEVICE_PCI_HOT_RESET = 113
    DEVICE_FEATURE = 117
    DEVICE_BIND_IOMMUFD = 118
    DEVICE_ATTACH_IOMMUFD_PT = 119
    DEVICE_DETACH_IOMMUFD_PT = 120
    MIG_GET_PRECOPY_INFO = 121  # on data_fd


class Iommufd(enum.IntEnum):
    """Ioctls on an iommufd."""

    DESTROY = 0x80
    IOAS_ALLOC = 0x81
    IOAS_IOVA_RANGES = 0x84
    IOAS_MAP = 0x85
    IOAS_UNMAP = 0x86
    HWPT_ALLOC = 0x89
    GET_HW_INFO = 0x8A
    HWPT_SET_DIRTY_TRACKING = 0x8B
    HWPT_GET_DIRTY_BITMAP = 0x8C
    IOAS_MAP_FILE = 0x8F
    IOAS_CHANGE_PROCESS = 0x92


class Feature(enum.IntEnum):
    """VFIO_DEVICE_FEATURE_*: low 16 bits of vfio_device_feature.flags."""

    MIGRATION = 1
    MIG_DEVICE_STATE = 2
    DMA_LOGGING_START = 6
    DMA_LOGGING_STOP = 7
    DMA_LOGGING_REPORT = 8
    MIG_DATA_SIZE = 9
    MIG_PRECOPY_INFOV2 = 12  # Linux 7.1 on


FEATURE_MASK: Final = 0xFFFF
FEATURE_GET: Final = 1 << 16
FEATURE_SET: Final = 1 << 17
FEATURE_PROBE: Final = 1 << 18


class MigrationFlag(enum.IntFlag):
    """VFIO_MIGRATION_* of vfio_device_feature_migration."""

    STOP_COPY = 1
    P2P = 2
    PRE_COPY = 4


class DeviceState(enum.IntEnum):
    """enum vfio_device_mig_state."""

    ERROR = 0
    STOP = 1
    RUNNING = 2
    STOP_COPY = 3
    RESUMING = 4
    RUNNING_P2P = 5
    PRE_COPY = 6
    PRE_COPY_P2P = 7


class Region(enum.IntEnum):
    """VFIO_PCI_*_REGION_INDEX."""

    BAR0 = 0
    BAR1 = 1
    ROM = 6
    CONFIG = 7
    VGA = 8


class Irq(enum.IntEnum):
    """VFIO_PCI_*_IRQ_INDEX."""

    INTX = 0
    MSI = 1
    MSIX = 2
    ERR = 3
    REQ = 4


TYPE1V2_IOMMU: Final = 3
GROUP_FLAGS_VIABLE: Final = 1 << 0

NUM_REGIONS: Final = 9
NUM_IRQS: Final = 5
REGION_SHIFT: Final = 40  # offset of region i in the device fd, as vfio-pci-core lays it out

DEVICE_FLAGS_RESET: Final = 1 << 0
DEVICE_FLAGS_PCI: Final = 1 << 1
REGION_READ: Final = 1 << 0
REGION_WRITE: Final = 1 << 1
REGION_MMAP: Final = 1 << 2
IRQ_EVENTFD: Final = 1 << 0
IRQ_NORESIZE: Final = 1 << 3
IRQ_SET_DATA_NONE: Final = 1 << 0
IRQ_SET_DATA_EVENTFD: Final = 1 << 2
IRQ_SET_DATA: Final = 7
IRQ_SET_ACTION_TRIGGER: Final = 1 << 5
IRQ_SET_ACTION: Final = 7 << 3


def _layout(fmt: str, size: int) -> struct.Struct:
    layout = struct.Struct("<" + fmt)
    if layout.size != size:
        raise AssertionError(f"layout {fmt!r} has {layout.size} bytes, the kernel's has {size}")
    return layout


GROUP_STATUS = _layout("2I", 8)  # argsz flags
DEVICE_INFO = _layout("5I4x", 24)  # argsz flags num_regions num_irqs cap_offset pad
REGION_INFO = _layout("4I2Q", 32)  # argsz flags index cap_offset size offset
IRQ_INFO = _layout("4I", 16)  # argsz flags index count
IRQ_SET = _layout("5I", 20)  # argsz flags index start count, then the data
BIND_IOMMUFD = _layout("2IiI", 16)  # argsz flags iommufd out_devid
FEATURE_HEADER = _layout("2I", 8)  # argsz flags
MIGRATION = _layout("Q", 8)  # flags
MIG_STATE = _layout("Ii", 8)  # device_state data_fd
MIG_DATA_SIZE = _layout("Q", 8)  # stop_copy_length
DMA_LOGGING_CONTROL = _layout("Q2IQ", 24)  # page_size num_ranges reserved ranges
DMA_LOGGING_REPORT = _layout("4Q", 32)  # iova length page_size bitmap
DMA_LOGGING_RANGE = _layout("2Q", 16)  # iova length
PRECOPY_INFO = _layout("2I2Q", 24)  # argsz flags initial_bytes dirty_bytes

PRECOPY_INFO_REINIT: Final = 1 << 0  # Linux 7.1 on

LOG_MAX_RANGES: Final = 4096 // 16
"""Most ranges of DMA_LOGGING_START (LOG_MAX_RANGES in drivers/vfio/vfio_main.c)."""
MAP_WRITEABLE: Final = 1 << 1  # IOMMU_IOAS_MAP_WRITEABLE
HWPT_ALLOC_DIRTY_TRACKING: Final = 1 << 1
DIRTY_TRACKING_ENABLE: Final = 1 << 0
HW_CAP_DIRTY_TRACKING: Final = 1 << 0  # enum iommufd_hw_capabilities, Linux 6.7 on

IOMMU_DESTROY = _layout("2I", 8)  # size id
IOAS_ALLOC = _layout("3I", 12)  # size flags out_ioas_id
IOVA_RANGES = _layout("4I2Q", 32)  # size ioas_id num_iovas reserved allowed_iovas alignment
IOVA_RANGE = _layout("2Q", 16)  # start last
IOAS_MAP = _layout("4I3Q", 40)  # size flags ioas_id reserved user_va length iova
IOAS_MAP_FILE = _layout("3Ii3Q", 40)  # size flags ioas_id fd start length iova
IOAS_UNMAP = _layout("2I2Q", 24)  # size ioas_id iova length
HWPT_ALLOC = _layout("8IQ2I", 48)  # size flags dev_id pt_id out_hwpt_id ...
ATTACH_IOMMUFD_PT = _layout("3I", 12)  # argsz flags pt_id
SET_DIRTY_TRACKING = _layout("4I", 16)  # size flags hwpt_id reserved
GET_DIRTY_BITMAP = _layout("4I4Q", 48)  # size hwpt_id flags reserved iova length page_size data
HW_INFO = _layout("4IQ2IQ", 40)  # size flags dev_id data_len data_uptr out_type reserved caps
