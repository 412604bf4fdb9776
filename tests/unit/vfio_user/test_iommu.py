"""Mappings reach the servers, with a descriptor where the memory has one; our process is QEMU."""

import ctypes
import errno
import mmap
import os

import pytest

from harness.supervisor.memory import ProcessMemory
from harness.vfio import uapi
from harness.vfio.uapi import Iommufd
from harness.vfio_user.iommu import RemoteIommu
from harness.vfio_user.messages import Command, DmaMap, DmaUnmap, MapFlag

PAGE = mmap.PAGESIZE
READ_WRITE = 1 << 1 | 1 << 2
IOVA = 0x10000


class Recorder:
    """A client that notes what it is asked for."""

    def __init__(self, error=0):
        self.error = error
        self.asked = []
        self.files = []

    def ask(self, command, payload=b"", fds=()):
        if self.error:
            raise OSError(self.error, "")
        kind = DmaMap if command is Command.DMA_MAP else DmaUnmap
        self.asked.append(kind.parse(payload))
        self.files.append([os.fstat(fd).st_ino for fd in fds])
        return b""


class Bench:
    """An iommufd with one IOAS."""

    def __init__(self, *clients):
        self.iommu = RemoteIommu(os.getpid)
        for client in clients or (Recorder(),):
            self.iommu.add(client)
        self.memory = ProcessMemory()
        self.memory.attach(os.getpid())
        _, data = self.call(Iommufd.IOAS_ALLOC, uapi.IOAS_ALLOC.pack(12, 0, 0))
        self.ioas = uapi.IOAS_ALLOC.unpack(data)[2]

    @property
    def client(self):
        return self.iommu.clients[0]

    def call(self, number, data):
        buffer = ctypes.create_string_buffer(data, len(data))
        answer = self.iommu.ioctl(number, ctypes.addressof(buffer), self.memory)
        for address, written in answer.writes:
            self.memory.write(address, written)
        return answer.errno, buffer.raw

    def map(self, address, length, flags=READ_WRITE):
        data = uapi.IOAS_MAP.pack(40, flags, self.ioas, 0, address, length, IOVA)
        return self.call(Iommufd.IOAS_MAP, data)[0]

    def unmap(self, length):
        data = uapi.IOAS_UNMAP.pack(24, self.ioas, IOVA, length)
        return self.call(Iommufd.IOAS_UNMAP, data)[0]


@pytest.fixture
def bench():
    made = []

    def make(*clients):
        made.append(Bench(*clients))
        return made[-1]

    yield make
    for each in made:
        each.memory.close()


@pytest.fixture
def memfd():
    fd = os.memfd_create("ram")
    os.ftruncate(fd, 4 * PAGE)
    yield fd
    os.close(fd)


def address_of(memory):
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def test_memory_without_a_file_is_mapped_without_a_descriptor(bench):
    found, memory = bench(), mmap.mmap(-1, 2 * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    assert found.map(address_of(memory), 2 * PAGE) == 0
    assert found.client.asked == [DmaMap(MapFlag.READ | MapFlag.WRITE, 0, IOVA, 2 * PAGE)]
    assert found.client.files == [[]]
    assert found.unmap(2 * PAGE) == 0
    assert found.client.asked[1:] == [DmaUnmap(IOVA, 2 * PAGE)]
    assert found.unmap(2 * PAGE) == errno.ENOENT
    assert len(found.client.asked) == 2


@pytest.mark.parametrize(("flags", "access"), [(1 << 2, MapFlag.READ), (1 << 1, MapFlag.WRITE)])
def test_access_is_that_of_the_mapping(bench, flags, access):
    found, memory = bench(), mmap.mmap(-1, PAGE)
    found.map(address_of(memory), PAGE, flags)
    assert found.client.asked[0].flags == access


def test_shared_memory_is_passed_on_with_its_file(bench, memfd):
    found, memory = bench(), mmap.mmap(memfd, 3 * PAGE, offset=PAGE)
    assert found.map(address_of(memory) + PAGE, PAGE) == 0
    assert found.client.asked[0].offset == 2 * PAGE
    assert found.client.files == [[os.fstat(memfd).st_ino]]


def test_private_memory_of_a_file_is_not(bench, memfd):
    """What QEMU writes there is not in the file."""
    found, memory = bench(), mmap.mmap(memfd, PAGE, mmap.MAP_PRIVATE)
    assert found.map(address_of(memory), PAGE) == 0
    assert found.client.files == [[]]


def test_file_that_is_mapped_by_its_descriptor_is_passed_on(bench, memfd):
    found = bench()
    data = uapi.IOAS_MAP_FILE.pack(40, READ_WRITE, found.ioas, memfd, PAGE, 2 * PAGE, IOVA)
    assert found.call(Iommufd.IOAS_MAP_FILE, data)[0] == 0
    assert found.client.asked == [DmaMap(3, PAGE, IOVA, 2 * PAGE)]
    assert found.client.files == [[os.fstat(memfd).st_ino]]


def test_descriptors_are_closed(bench, memfd, open_fds):
    found, memory = bench(), mmap.mmap(memfd, PAGE)
    before = open_fds()
    found.map(address_of(memory), PAGE)
    assert open_fds() == before


def test_each_server_knows_all_mappings(bench):
    found, memory = bench(Recorder(), Recorder()), mmap.mmap(-1, PAGE)
    found.map(address_of(memory), PAGE)
    assert [len(client.asked) for client in found.iommu.clients] == [1, 1]


def test_ioas_that_is_destroyed_ends_its_mappings(bench):
    found, memory = bench(), mmap.mmap(-1, PAGE)
    found.map(address_of(memory), PAGE)
    assert found.call(Iommufd.DESTROY, uapi.IOMMU_DESTROY.pack(8, found.ioas))[0] == 0
    assert found.client.asked[1:] == [DmaUnmap(IOVA, PAGE)]


def test_error_of_a_server_is_that_of_the_call(bench):
    found, memory = bench(Recorder(errno.ENOSPC)), mmap.mmap(-1, PAGE)
    assert found.map(address_of(memory), PAGE) == errno.ENOSPC


def test_server_without_a_file_reads_and_writes_through_the_client(bench):
    found, memory = bench(), mmap.mmap(-1, PAGE)
    memory[:4] = b"abcd"
    found.map(address_of(memory), PAGE)
    assert found.client.read_dma(IOVA + 1, 2) == b"bc"
    found.client.write_dma(IOVA + 2, b"xy")
    assert memory[:4] == b"abxy"
    for call in (lambda: found.client.read_dma(IOVA + PAGE - 1, 2),
                 lambda: found.client.write_dma(IOVA - 1, b"x")):  # fmt: skip
        with pytest.raises(OSError, match="Bad address"):
            call()


def test_memory_that_can_only_be_read_is_not_written(bench):
    found, memory = bench(), mmap.mmap(-1, PAGE)
    found.map(address_of(memory), PAGE, 1 << 2)
    assert found.client.read_dma(IOVA, 1) == b"\0"
    with pytest.raises(OSError, match="Bad address"):
        found.client.write_dma(IOVA, b"x")
