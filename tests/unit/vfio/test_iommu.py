"""An iommufd as QEMU uses it (backends/iommufd.c)."""

import errno

import pytest

from harness.history.device import DmaLog, DmaWrite
from harness.scenario import EmulatedDevice
from harness.scenario.dma import Dma as DmaPlan
from harness.vfio import uapi
from harness.vfio.answer import DONE, UNKNOWN
from harness.vfio.dma import Dma
from harness.vfio.iommu import Iommu
from harness.vfio.uapi import Iommufd

AT = 0x7F00_0000_1000
MIB = 1 << 20


@pytest.fixture
def iommu():
    return Iommu()


@pytest.fixture
def call(iommu, target):
    """Do an ioctl; its errno and the argument as it is afterwards."""

    def do(number, argument):
        target.put(AT, argument)
        answer = iommu.ioctl(number, AT, target)
        for address, data in answer.writes:
            target.write(address, data)
        return answer.errno, target.read(AT, len(argument))

    return do


def mapping(ioas, iova, length):
    return uapi.IOAS_MAP.pack(40, 7, ioas, 0, 0x5555_0000, length, iova)


def unmapping(ioas, iova, length):
    return uapi.IOAS_UNMAP.pack(24, ioas, iova, length)


def test_every_object_gets_an_id_of_its_own(iommu, call):
    error, out = call(Iommufd.IOAS_ALLOC, uapi.IOAS_ALLOC.pack(12, 0, 0))
    size, flags, first = uapi.IOAS_ALLOC.unpack(out)
    assert (error, size, flags) == (0, 12, 0)
    second = uapi.IOAS_ALLOC.unpack(call(Iommufd.IOAS_ALLOC, uapi.IOAS_ALLOC.pack(12, 0, 0))[1])[2]
    assert len({0, first, second, iommu.new_id()}) == 4


def test_object_is_destroyed_once(iommu, call):
    argument = uapi.IOMMU_DESTROY.pack(8, iommu.new_id())
    assert call(Iommufd.DESTROY, argument) == (0, argument)
    assert call(Iommufd.DESTROY, argument) == (errno.ENOENT, argument)


def test_iova_ranges_are_first_counted_and_then_given(call, target):
    ranges_at = target.put(0x9000, bytes(16))
    layout = uapi.IOVA_RANGES
    error, out = call(Iommufd.IOAS_IOVA_RANGES, layout.pack(32, 1, 0, 0, 0, 0))
    assert error == errno.EMSGSIZE
    assert layout.unpack(out)[2] == 1, "the room that is needed"
    error, out = call(Iommufd.IOAS_IOVA_RANGES, layout.pack(32, 1, 1, 0, ranges_at, 0))
    assert error == 0
    assert layout.unpack(out) == (32, 1, 1, 0, ranges_at, 4096)
    start, last = uapi.IOVA_RANGE.unpack(target.read(ranges_at, 16))
    assert (start, last) == (0, (1 << 48) - 1)


def test_mappings_are_counted(iommu, call):
    assert iommu.mapping_count == 0
    assert call(Iommufd.IOAS_MAP, mapping(1, 0, MIB))[0] == 0
    assert call(Iommufd.IOAS_MAP, mapping(1, MIB, MIB))[0] == 0
    file_mapping = uapi.IOAS_MAP_FILE.pack(40, 7, 1, 12, 0, MIB, 2 * MIB)
    assert call(Iommufd.IOAS_MAP_FILE, file_mapping)[0] == 0
    assert iommu.mapping_count == 3


def test_unmapping_returns_the_length(iommu, call):
    for iova in (0, MIB, 4 * MIB):
        call(Iommufd.IOAS_MAP, mapping(1, iova, MIB))
    error, out = call(Iommufd.IOAS_UNMAP, unmapping(1, 0, 2 * MIB))
    assert (error, uapi.IOAS_UNMAP.unpack(out)[3]) == (0, 2 * MIB)
    assert iommu.mapping_count == 1
    error, _ = call(Iommufd.IOAS_UNMAP, unmapping(1, 0, 4 * MIB))
    assert error == errno.ENOENT, "the end of the range lies outside of it"
    error, out = call(Iommufd.IOAS_UNMAP, unmapping(1, 0, (1 << 64) - 1))
    assert (error, uapi.IOAS_UNMAP.unpack(out)[3]) == (0, MIB)
    assert iommu.mapping_count == 0


def test_file_mapping_is_unmapped_as_any_other(iommu, call):
    file_mapping = uapi.IOAS_MAP_FILE.pack(40, 7, 1, 12, 0x6000, MIB, 2 * MIB)
    call(Iommufd.IOAS_MAP_FILE, file_mapping)
    error, out = call(Iommufd.IOAS_UNMAP, unmapping(1, 2 * MIB, MIB))
    assert (error, uapi.IOAS_UNMAP.unpack(out)[3]) == (0, MIB)


def test_address_spaces_are_apart(iommu, call):
    call(Iommufd.IOAS_MAP, mapping(1, 0, MIB))
    call(Iommufd.IOAS_MAP, mapping(2, 0, MIB))
    assert iommu.mapping_count == 2
    assert call(Iommufd.IOAS_UNMAP, unmapping(1, 0, MIB))[0] == 0
    assert call(Iommufd.IOAS_UNMAP, unmapping(1, 0, MIB))[0] == errno.ENOENT
    assert iommu.mapping_count == 1


def test_address_space_takes_its_mappings_along(iommu, call):
    ioas, other = iommu.new_id(), iommu.new_id()
    call(Iommufd.IOAS_MAP, mapping(ioas, 0, MIB))
    call(Iommufd.IOAS_MAP, mapping(other, 0, MIB))
    call(Iommufd.DESTROY, uapi.IOMMU_DESTROY.pack(8, ioas))
    assert iommu.mapping_count == 1
    assert call(Iommufd.IOAS_UNMAP, unmapping(ioas, 0, MIB))[0] == errno.ENOENT
    assert call(Iommufd.IOAS_UNMAP, unmapping(other, 0, MIB))[0] == 0


def test_page_table_is_a_new_object_and_the_rest_stays(iommu, call):
    layout = uapi.HWPT_ALLOC
    before = (48, 0, 11, 12, 0, 0, 1, 2, 0x8000, 3, 0)
    error, out = call(Iommufd.HWPT_ALLOC, layout.pack(*before))
    after = layout.unpack(out)
    assert error == 0
    assert after == (*before[:4], after[4], *before[5:])
    assert call(Iommufd.DESTROY, uapi.IOMMU_DESTROY.pack(8, after[4]))[0] == 0


def test_page_table_with_dirty_tracking_is_refused(call):
    """So QEMU tracks dirty pages with the device, or not at all."""
    argument = uapi.HWPT_ALLOC.pack(48, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0)
    assert call(Iommufd.HWPT_ALLOC, argument) == (errno.EOPNOTSUPP, argument)


def test_hardware_is_of_no_type_and_has_no_data(call):
    layout = uapi.HW_INFO
    error, out = call(Iommufd.GET_HW_INFO, layout.pack(40, 0, 5, 64, 0x8000, 9, 9, 9))
    assert (error, layout.unpack(out)) == (0, (40, 0, 5, 0, 0x8000, 0, 0, 0))


def test_change_of_process_is_taken(iommu, target):
    assert iommu.ioctl(Iommufd.IOAS_CHANGE_PROCESS, 0, target) is DONE


@pytest.mark.parametrize("number", [0x82, 0x83, 0x88, 0x7F, 0xFF])
def test_ioctl_that_it_does_not_know_is_unknown(iommu, target, number):
    assert iommu.ioctl(number, AT, target) is UNKNOWN


@pytest.mark.parametrize("number", set(Iommufd) - {Iommufd.IOAS_ALLOC, Iommufd.IOAS_CHANGE_PROCESS})
def test_bad_address_is_left_to_the_caller(iommu, target, number):
    with pytest.raises(OSError) as failure:
        iommu.ioctl(number, AT, target)
    assert failure.value.errno == errno.EFAULT


# -- dirty tracking ----------------------------------------------------------------------


class Tracked:
    """QEMU with an iommufd, RAM in it, and devices that write to it."""

    def __init__(self, target, *devices):
        self.target, self.iommu, self.is_running = target, Iommu(), True
        self.seen = []
        target.put(RAM_AT, bytes(MIB))
        self.do(Iommufd.IOAS_MAP, uapi.IOAS_MAP.pack(40, 7, 1, 0, RAM_AT, MIB, 4 * MIB))
        self.devices = [
            Dma(EmulatedDevice(id="a", dma=dma), self.iommu, self.seen.append, self.runs)
            for dma in devices
        ]

    def runs(self):
        return self.is_running

    def do(self, number, argument):
        self.target.put(AT, argument)
        answer = self.iommu.ioctl(number, AT, self.target)
        for address, data in answer.writes:
            self.target.write(address, data)
        return answer.errno

    def table(self, device, tracks):
        """A new page table for ``device``; its number."""
        flags = uapi.HWPT_ALLOC_DIRTY_TRACKING * tracks
        argument = uapi.HWPT_ALLOC.pack(48, flags, device, 1, 0, 0, 0, 0, 0, 0, 0)
        assert self.do(Iommufd.HWPT_ALLOC, argument) == 0
        return uapi.HWPT_ALLOC.unpack(self.target.read(AT, 48))[4]

    def tracking(self, table, flags=1):
        argument = uapi.SET_DIRTY_TRACKING.pack(16, flags, table, 0)
        return self.do(Iommufd.HWPT_SET_DIRTY_TRACKING, argument)

    def dirty(self, table, iova=4 * MIB, length=MIB, page_size=4096, flags=0):
        self.target.put(BITMAP, bytes(32))
        argument = uapi.GET_DIRTY_BITMAP.pack(48, table, flags, 0, iova, length, page_size, BITMAP)
        error = self.do(Iommufd.HWPT_GET_DIRTY_BITMAP, argument)
        found = int.from_bytes(self.target.read(BITMAP, 32), "little")
        return error, [bit for bit in range(256) if found >> bit & 1]


RAM_AT, BITMAP = 0x7F11_0000_0000, 0x9000


@pytest.fixture
def tracked(target):
    """One device, its IOMMU tracks, and what it attached to."""
    qemu = Tracked(target, DmaPlan(pages=2, stride=9, rounds=1))
    table = qemu.table(qemu.iommu.bind(qemu.devices[0], tracks=True), tracks=True)
    assert qemu.iommu.attach(qemu.devices[0], table, tracks=True) == 0
    return qemu, table


def test_hardware_that_tracks_says_so(target):
    qemu = Tracked(target, DmaPlan())
    layout = uapi.HW_INFO
    for tracks in (False, True):
        device = qemu.iommu.bind(qemu.devices[0], tracks=tracks)
        assert qemu.do(Iommufd.GET_HW_INFO, layout.pack(40, 0, device, 0, 0, 0, 0, 0)) == 0
        assert layout.unpack(target.read(AT, 40))[-1] == uapi.HW_CAP_DIRTY_TRACKING * tracks


def test_what_is_written_is_reported_once(tracked):
    qemu, table = tracked
    assert qemu.tracking(table) == 0
    assert qemu.dirty(table) == (0, [0, 9])
    assert qemu.dirty(table) == (0, [0, 9]), "it has written again"
    assert qemu.dirty(table) == (0, [])
    moments = [body.moment for body in qemu.seen if isinstance(body, DmaWrite)]
    assert moments == ["before the log", "first logged", "after a report"]
    assert [body.by for body in qemu.seen if isinstance(body, DmaLog)] == ["iommu"]


def test_log_ends(tracked):
    qemu, table = tracked
    qemu.tracking(table)
    assert qemu.tracking(table, flags=0) == 0
    assert not qemu.iommu.is_tracking(qemu.devices[0])
    assert qemu.dirty(table)[0] == errno.EINVAL


def test_planned_errors_are_those_of_the_ioctls(target):
    qemu = Tracked(target, DmaPlan(pages=1), DmaPlan(pages=1, report_errno=5, stop_errno=16))
    table = qemu.table(qemu.iommu.bind(qemu.devices[0], tracks=True), tracks=True)
    for device in qemu.devices:
        qemu.iommu.attach(device, table, tracks=True)
    assert qemu.tracking(table) == 0
    assert qemu.dirty(table) == (5, [])
    assert qemu.tracking(table, flags=0) == 16
    assert not qemu.iommu.is_tracking(qemu.devices[0])
    assert qemu.tracking(table) == 0, "once more"


def test_start_that_fails_tracks_nothing(target):
    qemu = Tracked(target, DmaPlan(pages=1, start_errno=12))
    table = qemu.table(qemu.iommu.bind(qemu.devices[0], tracks=True), tracks=True)
    qemu.iommu.attach(qemu.devices[0], table, tracks=True)
    assert qemu.tracking(table) == 12
    assert not qemu.iommu.is_tracking(qemu.devices[0])


def test_device_without_tracking_does_not_fit_a_table_that_has_it(tracked):
    qemu, table = tracked
    assert qemu.iommu.attach(qemu.devices[0], table, tracks=False) == errno.EINVAL
    other = qemu.table(qemu.iommu.bind(qemu.devices[0], tracks=False), tracks=False)
    assert qemu.iommu.attach(qemu.devices[0], other, tracks=True) == 0
    assert qemu.tracking(other) == errno.EOPNOTSUPP
    assert qemu.dirty(other)[0] == errno.EOPNOTSUPP


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"iova": 4 * MIB - 4096}, errno.EINVAL),
        ({"length": MIB + 4096}, errno.EINVAL),
        ({"length": 0}, errno.EINVAL),
        ({"length": 4095}, errno.EINVAL),
        ({"page_size": 2048}, errno.EINVAL),
        ({"iova": 4 * MIB + 1, "length": 4096}, errno.EINVAL),
        ({"flags": 1}, errno.EOPNOTSUPP),
        ({"iova": 4 * MIB + 4096, "length": 4096}, 0),
    ],
)
def test_bitmap_is_refused_as_linux_refuses_it(tracked, fields, error):
    qemu, table = tracked
    qemu.tracking(table)
    assert qemu.dirty(table, **fields)[0] == error


def test_table_that_is_not_there_is_enoent(tracked):
    qemu, table = tracked
    assert qemu.tracking(table + 9) == errno.ENOENT
    assert qemu.dirty(table + 9)[0] == errno.ENOENT
    qemu.do(Iommufd.DESTROY, uapi.IOMMU_DESTROY.pack(8, table))
    assert qemu.tracking(table) == errno.ENOENT


def test_mappings_without_a_gap_are_one(tracked):
    qemu, table = tracked
    qemu.do(Iommufd.IOAS_MAP, uapi.IOAS_MAP.pack(40, 7, 1, 0, RAM_AT, MIB, 5 * MIB))
    qemu.tracking(table)
    qemu.target.put(BITMAP, bytes(64))
    assert qemu.dirty(table, 4 * MIB, 2 * MIB) == (0, [0, 9])
