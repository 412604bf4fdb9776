"""DMA of a device, and its log, as Linux has it (drivers/vfio/vfio_main.c, iova_bitmap.c)."""

import errno

import pytest

from harness.history.device import DmaLog, DmaWrite, LogCall
from harness.scenario import EmulatedDevice
from harness.scenario.dma import PAGE, Dma, Reports
from harness.vfio import uapi
from harness.vfio.dma import Dma as Engine
from harness.vfio.dma import content, shown
from harness.vfio.iommu import Iommu
from harness.vfio.uapi import Iommufd

RAM_AT, RAM = 0x7F00_0000_0000, 1 << 20
IOVA = 4 << 20
ARGUMENT, RANGES, BITMAP = 0x1000, 0x2000, 0x3000
ALL = (0, 1 << 32)


class Device:
    """A device that writes to RAM that QEMU has mapped."""

    def __init__(self, target, **fields):
        self.target, self.seen, self.is_running = target, [], True
        iommu = Iommu()
        target.put(RAM_AT, bytes(RAM))
        target.put(ARGUMENT, uapi.IOAS_MAP.pack(40, 7, 1, 0, RAM_AT, RAM, IOVA))
        iommu.ioctl(Iommufd.IOAS_MAP, ARGUMENT, target)
        spec = EmulatedDevice(id="a", dma=Dma(**{"pages": 3, **fields}))
        self.dma = Engine(spec, iommu, self.seen.append, lambda: self.is_running)

    def do(self, answer):
        for address, data in answer.writes:
            self.target.write(address, data)
        return answer.errno

    def start(self, *ranges, page_size=PAGE, count=None):
        asked = ranges or (ALL,)
        self.target.put(RANGES, b"".join(uapi.DMA_LOGGING_RANGE.pack(*each) for each in asked))
        control = page_size, len(asked) if count is None else count, 0, RANGES
        self.target.put(ARGUMENT, uapi.DMA_LOGGING_CONTROL.pack(*control))
        return self.do(self.dma.start(ARGUMENT, self.target))

    def report(self, iova=IOVA, length=RAM, page_size=PAGE, bits=0):
        """The errno, and the numbers of the bits that are set."""
        size = (length // PAGE + 63) // 64 * 8
        self.target.put(BITMAP, bits.to_bytes(size, "little"))
        self.target.put(ARGUMENT, uapi.DMA_LOGGING_REPORT.pack(iova, length, page_size, BITMAP))
        error = self.do(self.dma.report(ARGUMENT, self.target))
        found = int.from_bytes(self.target.read(BITMAP, size), "little")
        return error, [bit for bit in range(found.bit_length()) if found >> bit & 1]

    def page(self, index):
        return shown(self.target.read(RAM_AT + index * PAGE, PAGE))[0]

    def writes(self):
        return [body.moment for body in self.seen if isinstance(body, DmaWrite)]


@pytest.fixture
def new(target):
    return lambda **fields: Device(target, **fields)


def test_no_two_pages_are_alike():
    pages = {
        content(seed, number, index) for seed in (1, 2) for number in (1, 2) for index in (0, 1)
    }
    assert len(pages) == 8
    assert all(len(page) == PAGE for page in pages)
    assert shown(content(1, 7, 3))[0] == 7


def test_writes_before_and_after_the_log_starts(new):
    device = new()
    assert device.start() == 0
    assert device.writes() == ["before the log", "first logged"]
    assert [device.page(index) for index in range(4)] == [2, 2, 2, 0]


def test_each_page_is_reported_once(new):
    device = new(rounds=1, stride=9)
    device.start()
    assert device.report() == (0, [0, 9, 18])
    assert device.writes()[-1] == "after a report"
    assert device.report() == (0, [0, 9, 18])
    assert device.report() == (0, []), "the rounds are over"


def test_only_what_is_asked_for_is_reported(new):
    device = new(stride=9, rounds=1)
    device.start()
    assert device.report(IOVA + 9 * PAGE, 2 * PAGE) == (0, [0])
    assert device.report(IOVA, PAGE) == (0, [0])


def test_bits_of_others_stay(new):
    device = new(rounds=1)
    device.start()
    assert device.report(bits=1 << 70 | 1 << 1) == (0, [0, 1, 2, 70])


def test_larger_pages_have_a_bit_each(new):
    device = new(stride=9)
    device.start()
    assert device.report(page_size=8 * PAGE) == (0, [0, 1, 2])


def test_what_no_range_covers_is_not_logged(new):
    device = new()
    device.start((IOVA, PAGE), (IOVA + 2 * PAGE, PAGE))
    assert device.report() == (0, [0, 2])


def test_page_can_be_left_out(new):
    device = new(omits=(1,))
    device.start()
    assert device.report() == (0, [0, 2])
    assert device.page(1) == 3, "it was written"


def test_device_that_does_not_run_writes_nothing(new):
    device = new()
    device.start()
    device.is_running = False
    assert device.dma.write("before it stops") == ()
    assert device.report()[1] == [0, 1, 2]
    assert device.writes() == ["before the log", "first logged"]


def test_page_that_is_not_mapped_is_not_written(new):
    device = new(at=IOVA + RAM - PAGE, pages=2)
    device.start()
    done = [body for body in device.seen if isinstance(body, DmaWrite)]
    assert [(body.pages, body.unmapped) for body in done] == [(1, 1), (1, 1)]
    assert device.report()[1] == [RAM // PAGE - 1]


@pytest.mark.parametrize(
    ("ranges", "fields", "error"),
    [
        ((ALL,), {"count": 0}, errno.EINVAL),
        ((ALL,), {"count": 257}, errno.E2BIG),
        ((ALL,), {"page_size": 2048}, errno.EINVAL),
        ((ALL,), {"page_size": 4097}, errno.EINVAL),
        (((PAGE + 1, PAGE),), {}, errno.EINVAL),
        (((0, PAGE + 1),), {}, errno.EINVAL),
        (((0, 2 * PAGE), (PAGE, PAGE)), {}, errno.EINVAL),
        ((((1 << 64) - PAGE, 2 * PAGE),), {}, errno.EOVERFLOW),
        (((0, PAGE), (PAGE, PAGE)), {}, 0),
    ],
)
def test_log_is_refused_as_linux_refuses_it(new, ranges, fields, error):
    assert new().start(*ranges, **fields) == error


def test_number_of_ranges_can_be_limited(new):
    device = new(max_ranges=1)
    assert device.start((0, PAGE), (PAGE, PAGE)) == errno.E2BIG
    assert device.start() == 0


def test_report_is_refused_as_linux_refuses_it(new):
    device = new()
    assert device.report()[0] == errno.EINVAL, "not started"
    device.start()
    assert device.report(page_size=2048)[0] == errno.EINVAL
    assert device.report(iova=(1 << 64) - PAGE, length=2 * PAGE)[0] == errno.EOVERFLOW


def test_calls_fail_as_planned(new):
    device = new(start_errno=errno.ENOMEM)
    assert device.start() == errno.ENOMEM
    assert device.report()[0] == errno.EINVAL, "it was not started"
    device = new(report_errno=errno.EIO, stop_errno=errno.EBUSY)
    device.start()
    assert device.report() == (errno.EIO, [])
    assert device.dma.stop().errno == errno.EBUSY
    assert device.start() == 0, "once more"
    failed = [body for body in device.seen if isinstance(body, LogCall)]
    assert [(body.call, body.errno) for body in failed] == [("report", 5), ("stop", 16)]


def test_only_the_last_reports_fail(new):
    device = new(report_errno=errno.EIO, reports=Reports.LAST)
    device.start()
    assert device.report() == (0, [0, 1, 2])
    device.is_running = False
    assert device.report() == (errno.EIO, [])


def test_log_that_is_stopped_forgets(new):
    device = new()
    device.start()
    assert device.dma.stop().errno == 0
    assert device.dma.stop().errno == errno.EINVAL
    device.start()
    assert device.report()[1] == [0, 1, 2]


def test_start_records_ranges_and_mappings(new):
    device = new()
    device.start((0, PAGE))
    (log,) = [body for body in device.seen if isinstance(body, DmaLog)]
    assert log == DmaLog(page_size=PAGE, count=1, ranges=[(0, PAGE)], mapped=[(IOVA, RAM)], errno=0)


def test_device_without_dma_records_nothing(new):
    device = new(pages=0)
    device.start()
    assert device.report() == (0, [])
    assert device.dma.stop().errno == 0
    assert device.seen == []


def test_pages_are_read_back(new, target):
    device = new(pages=2)
    device.start()
    pages = device.dma.pages(target)
    assert list(pages) == [hex(IOVA), hex(IOVA + PAGE)]
    assert {number for number, _ in pages.values()} == {2}
    assert len({digest for _, digest in pages.values()}) == 2


def test_last_write_may_leave_zeros(new, target):
    device = new(zeros=True)
    device.start()
    assert device.page(0) == 2
    for address, data in device.dma.write("before it stops", is_last=True):
        target.write(address, data)
    assert target.read(RAM_AT, 3 * PAGE) == bytes(3 * PAGE)
    assert [body.zeros for body in device.seen if isinstance(body, DmaWrite)][-2:] == [False, True]
    assert device.report() == (0, [0, 1, 2])
