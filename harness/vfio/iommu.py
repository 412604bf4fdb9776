"""The iommufd of one QEMU: gives out object ids, and knows what is mapped where.

A device's DMA goes to memory of QEMU's process, through ``translate``.
Source: ``drivers/iommu/iommufd/`` of Linux.
"""

import errno
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from harness.history.device import DmaLog
from harness.vfio import uapi
from harness.vfio.answer import DONE, UNKNOWN, Answer, TargetMemory, refuse
from harness.vfio.page_log import PageLog, Writes
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


class Writer(Protocol):
    """The DMA of a device (``harness.vfio.dma``)."""

    def write(self, moment: str) -> Writes:
        """All of its pages once more."""

    def write_again(self) -> Writes:
        """The same after a report, a number of times."""

    def planned_error(self, call: Literal["start", "report", "stop"]) -> int:
        """The errno with which ``call`` is to fail now; 0 for none."""

    def note_start(self, start: DmaLog) -> None:
        """Record the start of a log."""

    def note(self, call: Literal["report", "stop"], error: int, pages: int) -> None:
        """Record another call about a log."""


@dataclass(slots=True)
class Table:
    """A page table of the hardware (HWPT).

    :ivar tracks: whether it can log what is written
    :ivar is_on: whether it does
    """

    tracks: bool
    is_on: bool = False
    log: PageLog = field(default_factory=PageLog)


class Iommu:
    """Answers the ioctls of one iommufd."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._objects: set[int] = set()
        self._mappings: dict[tuple[int, int], Mapping] = {}
        self._tracking: set[int] = set()  # devices whose IOMMU can log what they write
        self._tables: dict[int, Table] = {}
        self._attached: dict[Writer, int] = {}

    def new_id(self) -> int:
        """The id of a new object."""
        object_id = next(self._ids)
        self._objects.add(object_id)
        return object_id

    @property
    def mapping_count(self) -> int:
        """Mappings that are in place now."""
        return len(self._mappings)

    # -- devices ---------------------------------------------------------------------

    def bind(self, _writer: Writer, *, tracks: bool) -> int:
        """The id of a device that is bound."""
        device = self.new_id()
        if tracks:
            self._tracking.add(device)
        return device

    def attach(self, writer: Writer, table: int, *, tracks: bool) -> int:
        """The device's accesses go through ``table``; returns an errno.

        One whose IOMMU cannot log does not fit a table that does (paging_domain_compatible() in
        drivers/iommu/intel/iommu.c).
        """
        found = self._tables.get(table)
        if found is not None and found.tracks and not tracks:
            return errno.EINVAL
        self._attached[writer] = table
        return 0

    def is_tracking(self, writer: Writer) -> bool:
        """Whether a log of what the device writes is kept here."""
        table = self._table_of(writer)
        return table is not None and table.is_on

    def mark(self, writer: Writer, address: int) -> None:
        """The device has written the page at ``address``."""
        table = self._table_of(writer)
        if table is not None and table.is_on:
            table.log.mark(address)

    def _table_of(self, writer: Writer) -> Table | None:
        return self._tables.get(self._attached.get(writer, 0))

    def _writers(self, table: int) -> list[Writer]:
        return [writer for writer, attached in self._attached.items() if attached == table]

    # -- memory ----------------------------------------------------------------------

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
            case Iommufd.HWPT_SET_DIRTY_TRACKING:
                return self._set_dirty_tracking(address, memory)
            case Iommufd.HWPT_GET_DIRTY_BITMAP:
                return self._get_dirty_bitmap(address, memory)
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
        self._tables.pop(object_id, None)
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
        tracks = flags == uapi.HWPT_ALLOC_DIRTY_TRACKING and device in self._tracking
        if flags and not tracks:
            return refuse(errno.EOPNOTSUPP)
        table = self.new_id()
        self._tables[table] = Table(tracks)
        data = layout.pack(size, flags, device, parent, table, *rest)
        return Answer(writes=((address, data),))

    # -- dirty tracking --------------------------------------------------------------

    def _set_dirty_tracking(self, address: int, memory: TargetMemory) -> Answer:
        layout = uapi.SET_DIRTY_TRACKING
        _, flags, number, _ = layout.unpack(memory.read(address, layout.size))
        table = self._tables.get(number)
        if table is None:
            return refuse(errno.ENOENT)
        if flags & ~uapi.DIRTY_TRACKING_ENABLE or not table.tracks:
            return refuse(errno.EOPNOTSUPP)
        writers = self._writers(number)
        if not flags:
            error = max((writer.planned_error("stop") for writer in writers), default=0)
            for writer in writers:
                writer.note("stop", error, 0)
            table.is_on = False  # also if it says that it failed: it can be started again
            return refuse(error) if error else DONE
        before = _all(writer.write("before the log") for writer in writers)
        error = max((writer.planned_error("start") for writer in writers), default=0)
        for writer in writers:
            writer.note_start(
                DmaLog(page_size=0, count=0, ranges=[], mapped=[], errno=error, by="iommu")
            )
        if error:
            return Answer(errno=error, writes=before)
        table.is_on = True
        table.log.clear()
        first = _all(writer.write("first logged") for writer in writers)
        return Answer(writes=before + first)

    def _get_dirty_bitmap(self, address: int, memory: TargetMemory) -> Answer:
        layout = uapi.GET_DIRTY_BITMAP
        _, number, flags, _, iova, length, page_size, bitmap = layout.unpack(
            memory.read(address, layout.size)
        )
        table = self._tables.get(number)
        if table is None:
            return refuse(errno.ENOENT)
        if flags or not table.tracks:  # IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR: QEMU has no use
            return refuse(errno.EOPNOTSUPP)
        is_aligned = page_size >= _PAGE and not (iova % page_size or length % page_size)
        if not table.is_on or not length or not is_aligned or not self._is_mapped(iova, length):
            return refuse(errno.EINVAL)
        writers = self._writers(number)
        error = max((writer.planned_error("report") for writer in writers), default=0)
        if error:
            for writer in writers:
                writer.note("report", error, 0)
            return refuse(error)
        writes, count = table.log.take(iova, length, page_size, bitmap, memory)
        for writer in writers if count else ():
            writer.note("report", 0, count)
            writes += writer.write_again()
        return Answer(writes=writes)

    def _is_mapped(self, iova: int, length: int) -> bool:
        """Whether all of it is, by one mapping or by several without a gap
        (iommu_read_and_clear_dirty() in drivers/iommu/iommufd/io_pagetable.c).
        """
        at = iova
        for (_, start), mapping in sorted(self._mappings.items(), key=lambda item: item[0][1]):
            if start <= at < start + mapping.length:
                at = start + mapping.length
        return at >= iova + length

    def _hw_info(self, address: int, memory: TargetMemory) -> Answer:
        layout = uapi.HW_INFO
        size, flags, device, _, data, *_ = layout.unpack(memory.read(address, layout.size))
        # IOMMU_HW_INFO_TYPE_NONE: no data.
        able = uapi.HW_CAP_DIRTY_TRACKING if device in self._tracking else 0
        return Answer(writes=((address, layout.pack(size, flags, device, 0, data, 0, 0, able)),))

    def _unmap(self, address: int, memory: TargetMemory) -> Answer:
        layout = uapi.IOAS_UNMAP
        size, ioas, iova, length = layout.unpack(memory.read(address, layout.size))
        inside = [k for k in self._mappings if k[0] == ioas and iova <= k[1] < iova + length]
        if not inside:
            return refuse(errno.ENOENT)
        unmapped = sum(self._mappings.pop(key).length for key in inside)
        return Answer(writes=((address, layout.pack(size, ioas, iova, unmapped)),))


def _all(parts: Iterable[Writes]) -> Writes:
    return tuple(itertools.chain.from_iterable(parts))
