"""The iommufd of one QEMU: gives out object ids and maps no memory.

The device makes no DMA, so nothing is mapped; mappings are counted to show a leak.
Source: ``drivers/iommu/iommufd/`` of Linux.
"""

import errno
import itertools

from harness.vfio import uapi
from harness.vfio.answer import DONE, UNKNOWN, Answer, TargetMemory, refuse
from harness.vfio.uapi import Iommufd

_IOVA_LAST = (1 << 48) - 1
_PAGE = 4096


class Iommu:
    """Answers the ioctls of one iommufd."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._objects: set[int] = set()
        self._mappings: dict[tuple[int, int], int] = {}

    def new_id(self) -> int:
        """The id of a new object."""
        object_id = next(self._ids)
        self._objects.add(object_id)
        return object_id

    @property
    def mapping_count(self) -> int:
        """Mappings that are in place now."""
        return len(self._mappings)

    def ioctl(self, number: int, address: int, memory: TargetMemory) -> Answer:
        """The answer to ioctl ``number`` whose argument lies at ``address``."""
        match number:
            case Iommufd.DESTROY:
                return self._destroy(address, memory)
            case Iommufd.IOAS_ALLOC:
                data = uapi.IOAS_ALLOC.pack(uapi.IOAS_ALLOC.size, 0, self.new_id())
                return Answer(writes=((address, data),))
            case Iommufd.IOAS_IOVA_RANGES:
                return self._iova_ranges(address, memory)
            case Iommufd.IOAS_MAP | Iommufd.IOAS_MAP_FILE:
                layout = uapi.IOAS_MAP if number == Iommufd.IOAS_MAP else uapi.IOAS_MAP_FILE
                fields = layout.unpack(memory.read(address, layout.size))
                self._mappings[fields[2], fields[6]] = fields[5]
                return DONE
            case Iommufd.IOAS_UNMAP:
                return self._unmap(address, memory)
            case Iommufd.HWPT_ALLOC:
                return self._hwpt_alloc(address, memory)
            case Iommufd.GET_HW_INFO:
                return self._hw_info(address, memory)
            case Iommufd.IOAS_CHANGE_PROCESS:
                return DONE
            case _:
                return UNKNOWN

    def _destroy(self, address: int, memory: TargetMemory) -> Answer:
        _, object_id = uapi.IOMMU_DESTROY.unpack(memory.read(address, uapi.IOMMU_DESTROY.size))
        if object_id not in self._objects:
            return refuse(errno.ENOENT)
        self._objects.remove(object_id)
        self._mappings = {k: v for k, v in self._mappings.items() if k[0] != object_id}
        return DONE

    def _iova_ranges(self, address: int, memory: TargetMemory) -> Answer:
        layout = uapi.IOVA_RANGES
        size, ioas, room, _, ranges, _ = layout.unpack(memory.read(address, layout.size))
        head = (address, layout.pack(size, ioas, 1, 0, ranges, _PAGE))
        if room < 1:
            return Answer(errno=errno.EMSGSIZE, writes=(head,))
        return Answer(writes=(head, (ranges, uapi.IOVA_RANGE.pack(0, _IOVA_LAST))))

    def _hwpt_alloc(self, address: int, memory: TargetMemory) -> Answer:
        layout = uapi.HWPT_ALLOC
        size, flags, device, parent, _, *rest = layout.unpack(memory.read(address, layout.size))
        if flags:  # dirty tracking by the IOMMU: this one has none
            return refuse(errno.EOPNOTSUPP)
        data = layout.pack(size, flags, device, parent, self.new_id(), *rest)
        return Answer(writes=((address, data),))

    def _hw_info(self, address: int, memory: TargetMemory) -> Answer:
        layout = uapi.HW_INFO
        size, flags, device, _, data, *_ = layout.unpack(memory.read(address, layout.size))
        # IOMMU_HW_INFO_TYPE_NONE: no data, no capabilities.
        return Answer(writes=((address, layout.pack(size, flags, device, 0, data, 0, 0, 0)),))

    def _unmap(self, address: int, memory: TargetMemory) -> Answer:
        layout = uapi.IOAS_UNMAP
        size, ioas, iova, length = layout.unpack(memory.read(address, layout.size))
        inside = [k for k in self._mappings if k[0] == ioas and iova <= k[1] < iova + length]
        if not inside:
            return refuse(errno.ENOENT)
        unmapped = sum(self._mappings.pop(key) for key in inside)
        return Answer(writes=((address, layout.pack(size, ioas, iova, unmapped)),))
