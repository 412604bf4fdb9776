"""DMA of a device to the guest's RAM, and logs of it.

The device's own log is that of VFIO_DEVICE_FEATURE_DMA_LOGGING_START, _STOP and _REPORT
(``linux/vfio.h``); what is refused is what ``drivers/vfio/vfio_main.c`` and
``drivers/vfio/iova_bitmap.c`` of Linux refuse.

A page begins with the number of the write, so that a page that arrived with older content shows
with which.
"""

import errno
from collections.abc import Callable, Iterable
from typing import Literal

import xxhash

from harness.history.device import DmaLog, DmaWrite, LogCall
from harness.history.records import Body
from harness.scenario import EmulatedDevice
from harness.scenario.dma import PAGE, Reports
from harness.vfio import uapi
from harness.vfio.answer import DONE, Answer, TargetMemory, refuse
from harness.vfio.iommu import Iommu
from harness.vfio.page_log import PageLog, Writes
from harness.vfio.state_bytes import generate

NUMBER_SIZE = 8
Call = Literal["start", "report", "stop"]


def content(seed: int, number: int, index: int) -> bytes:
    """Page ``index`` as the ``number``-th write leaves it."""
    rest = generate(seed ^ number << 32, index * PAGE, PAGE - NUMBER_SIZE)
    return number.to_bytes(NUMBER_SIZE, "little") + rest


def shown(page: bytes) -> tuple[int, str]:
    """Which write has left the page, and its digest, for a record."""
    return int.from_bytes(page[:NUMBER_SIZE], "little"), xxhash.xxh3_64_hexdigest(page)


class Dma:
    """The DMA of the device ``spec``, and its log.

    :param is_running: whether the device may write now
    """

    def __init__(
        self,
        spec: EmulatedDevice,
        iommu: Iommu,
        observe: Callable[[Body], None],
        is_running: Callable[[], bool],
    ) -> None:
        self._spec = spec
        self._dma = spec.dma
        self._iommu = iommu
        self._observe = observe
        self._is_running = is_running
        self._log = PageLog()
        self._ranges: list[tuple[int, int]] | None = None
        self._number = 0
        self._rounds = 0

    # -- writing ---------------------------------------------------------------------

    def write(self, moment: str, *, is_last: bool = False) -> Writes:
        """All pages once more, if the device runs; logged if a log is kept.

        :param is_last: the device stops next
        """
        if not self._dma.pages or not self._is_running():
            return ()
        self._number += 1
        writes, unmapped, omitted = [], 0, self._dma.omitted
        is_zero = is_last and self._dma.zeros
        for index, address in enumerate(self._dma.addresses):
            at = self._iommu.translate(address, PAGE)
            if at is None:
                unmapped += 1
                continue
            page = bytes(PAGE) if is_zero else content(self._spec.seed, self._number, index)
            writes.append((at, page))
            if address not in omitted:
                self._mark(address)
                self._iommu.mark(self, address)
        done = DmaWrite(
            number=self._number,
            moment=moment,
            pages=len(writes),
            unmapped=unmapped,
            zeros=is_zero,
            logged=self._ranges is not None or self._iommu.is_tracking(self),
        )
        self._observe(done)
        return tuple(writes)

    def _mark(self, address: int) -> None:
        tracked = self._ranges or ()
        if any(iova <= address < iova + length for iova, length in tracked):
            self._log.mark(address)

    def pages(self, memory: TargetMemory) -> dict[str, tuple[int, str]]:
        """What each page has now, for a record.

        :raise OSError: the process is gone
        """
        found = {}
        for address in self._dma.addresses:
            at = self._iommu.translate(address, PAGE)
            if at is not None:
                found[hex(address)] = shown(memory.read(at, PAGE))
        return found

    # -- its log ---------------------------------------------------------------------

    def start(self, address: int, memory: TargetMemory) -> Answer:
        """DMA_LOGGING_START."""
        layout = uapi.DMA_LOGGING_CONTROL
        page_size, count, _, at = layout.unpack(memory.read(address, layout.size))
        before = self.write("before the log")
        asked: list[tuple[int, int]] = []
        error = _too_many(count, self._dma.max_ranges)
        if not error:
            data = memory.read(at, count * uapi.DMA_LOGGING_RANGE.size)
            asked = list(uapi.DMA_LOGGING_RANGE.iter_unpack(data))
            error = _malformed(page_size, asked)
        if not error and self._ranges is not None:
            error = errno.EINVAL
        error = error or self.planned_error("start")
        mapped = self._iommu.writable()
        self.note_start(
            DmaLog(page_size=page_size, count=count, ranges=asked, mapped=mapped, errno=error)
        )
        if error:
            return Answer(errno=error, writes=before)
        self._ranges = asked
        return Answer(writes=before + self.write("first logged"))

    def stop(self) -> Answer:
        """DMA_LOGGING_STOP."""
        error = errno.EINVAL if self._ranges is None else self.planned_error("stop")
        self.note("stop", error, 0)
        self._ranges = None  # also if it says that it failed: it can be started again
        self._log.clear()
        return refuse(error) if error else DONE

    def report(self, address: int, memory: TargetMemory) -> Answer:
        """DMA_LOGGING_REPORT."""
        layout = uapi.DMA_LOGGING_REPORT
        iova, length, page_size, bitmap = layout.unpack(memory.read(address, layout.size))
        error = 0
        if page_size < PAGE or page_size & (page_size - 1) or self._ranges is None:
            error = errno.EINVAL
        elif iova + length > 1 << 64:
            error = errno.EOVERFLOW
        else:
            error = self.planned_error("report")
        if error:
            self.note("report", error, 0)
            return refuse(error)
        writes, count = self._log.take(iova, length, page_size, bitmap, memory)
        if count:
            self.note("report", 0, count)
            writes += self.write_again()
        return Answer(writes=writes)

    # -- what any log asks of it -----------------------------------------------------

    def planned_error(self, call: Call) -> int:
        """The errno with which ``call`` is to fail now; 0 for none."""
        dma = self._dma
        if call == "start":
            return dma.start_errno
        if call == "stop":
            return dma.stop_errno
        is_now = dma.reports is Reports.ALL or not self._is_running()
        return dma.report_errno if is_now else 0

    def write_again(self) -> Writes:
        """All pages, after a report; a number of times since the log was started."""
        if self._rounds >= self._dma.rounds:
            return ()
        self._rounds += 1
        return self.write("after a report")

    def note_start(self, start: DmaLog) -> None:
        """Record the start of a log."""
        self._rounds = 0
        if self._dma.is_used or start.by == "iommu":
            self._observe(start)

    def note(self, call: Literal["report", "stop"], error: int, pages: int) -> None:
        """Record another call about a log."""
        if self._dma.is_used:
            self._observe(
                LogCall(call=call, errno=error, pages=pages, is_running=self._is_running())
            )


def _too_many(count: int, limit: int | None) -> int:
    """The errno where a log cannot have ``count`` ranges; 0 if it can."""
    if not count:
        return errno.EINVAL
    return errno.E2BIG if count > (uapi.LOG_MAX_RANGES if limit is None else limit) else 0


def _malformed(page_size: int, asked: Iterable[tuple[int, int]]) -> int:
    """The errno for ranges that no log can have; 0 if it can."""
    if page_size < PAGE or page_size & (page_size - 1):
        return errno.EINVAL
    end = 0
    for iova, length in sorted(asked):
        if iova % page_size or length % page_size or iova < end:
            return errno.EINVAL
        end = iova + length
        if end > 1 << 64:
            return errno.EOVERFLOW
    return 0
