"""The iommufd of one QEMU: gives out object ids, and knows what is mapped where.

A device's DMA goes to memory of QEMU's process, through ``translate``.
Source: ``drivers/iommu/iommufd/`` of Linux.
"""

import errno
import itertools
from dataclasses import dataclass

from harness.vfio import uapi
from harness.vfio.answer import DONE, UNKNOWN, Answer, TargetMemory, refuse
from harness.vfio.uapi import Iommufd

_IOVA_LAST = (1 << 48) - 1
_PAGE = 4096


@dataclass(frozen=True, slots=True)
class Mapping:
    """Memory of QEMU's that the devices can access."""

    length: int
    address: int | None
    """In QEMU's process; None if a file was mapped."""
    is_writable: bool


class Iommu:
    """Answers the ioctls of one iommufd."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._objects: set[int] = set()
        self._mappings: dict[tuple[int, int], Mapping] = {}

    def new_id(self) -> int:
        """The id of a new object."""
        object_id = next(self._ids)
        self._objects.add(object_id)
        return object_id

    @property
    def mapping_count(self) -> int:
        """Mappings that are in place now."""
        return len(self._mappings)

    def translate(self, iova: int, length: int) -> int | None:
        """Where a device's write of ``length`` bytes at ``iova`` goes in QEMU's process; None if
        no device can write there.
        """
        for (_, start), mapping in dict(self._mappings).items():
            if start <= iova and iova + length <= start + mapping.length and mapping.is_writable:
                return None if mapping.address is None else mapping.address + iova - start
        return None

    def writable(self) -> list[tuple[int, int]]:
        """Address and length of all that devices can write."""
        mappings = sorted(self._mappings.items(), key=lambda item: item[0][1])
        return [(iova, each.length) for (_, iova), each in mappings if each.is_writable]

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
                is_file = number == Iommufd.IOAS_MAP_FILE
                self._mappings[fields[2], fields[6]] = Mapping(
                    length=fields[5],
                    address=None if is_file else fields[4],
                    is_writable=bool(fields[1] & uapi.MAP_WRITEABLE),
                )
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
        unmapped = sum(self._mappings.pop(key).length for key in inside)
        return Answer(writes=((address, layout.pack(size, ioas, iova, unmapped)),))
