"""An iommufd as QEMU uses it (backends/iommufd.c)."""

import errno

import pytest

from harness.vfio import uapi
from harness.vfio.answer import DONE, UNKNOWN
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


@pytest.mark.parametrize("number", [0x82, 0x83, 0x8B, 0x7F, 0xFF])
def test_ioctl_that_it_does_not_know_is_unknown(iommu, target, number):
    assert iommu.ioctl(number, AT, target) is UNKNOWN


@pytest.mark.parametrize("number", set(Iommufd) - {Iommufd.IOAS_ALLOC, Iommufd.IOAS_CHANGE_PROCESS})
def test_bad_address_is_left_to_the_caller(iommu, target, number):
    with pytest.raises(OSError) as failure:
        iommu.ioctl(number, AT, target)
    assert failure.value.errno == errno.EFAULT
