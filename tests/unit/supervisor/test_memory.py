"""Memory of another process, and memfds."""

import ctypes
import errno
import os
import subprocess
import sys

import pytest

from harness.supervisor.memory import Memfd, ProcessMemory


@pytest.fixture
def memory():
    memory = ProcessMemory()
    yield memory
    memory.close()


@pytest.fixture
def own(memory):
    memory.attach(os.getpid())
    return memory


def test_memory_is_read_and_written_where_the_process_has_it(own):
    buffer = ctypes.create_string_buffer(b"0123456789", 16)
    at = ctypes.addressof(buffer)
    assert own.read(at + 2, 3) == b"234"
    own.write(at + 4, b"xyz")
    assert buffer.value == b"0123xyz789"
    assert own.read(at, 0) == b""


@pytest.mark.parametrize("address", [0, 0x10, (1 << 47) + 4096, 1 << 63, (1 << 64) - 8])
def test_address_that_is_not_mapped_is_efault(own, address):
    for access in (lambda: own.read(address, 4), lambda: own.write(address, b"data")):
        with pytest.raises(OSError) as failure:
            access()
        assert failure.value.errno == errno.EFAULT


def test_range_that_is_mapped_in_part_is_not_read_in_part(own):
    size = 2 * 4096
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    at = libc.mmap(None, ctypes.c_size_t(size), 3, 0x22, -1, ctypes.c_long(0))
    assert libc.munmap(at + 4096, 4096) == 0
    assert own.read(at + 4090, 6) == bytes(6)
    for access in (lambda: own.read(at + 4090, 7), lambda: own.write(at + 4090, b"seven..")):
        with pytest.raises(OSError) as failure:
            access()
        assert failure.value.errno == errno.EFAULT
    assert libc.munmap(at, 4096) == 0


def test_process_that_is_gone_cannot_be_attached_to(memory):
    child = subprocess.Popen(["true"])
    child.wait()
    with pytest.raises(OSError):
        memory.attach(child.pid)


PROGRAM = """
import ctypes, os, sys
buffer = ctypes.create_string_buffer(sys.argv[1].encode())
print(ctypes.addressof(buffer), flush=True)
sys.stdin.readline()
if sys.argv[1] == "before":
    os.execv(sys.executable, [*sys.orig_argv[:-1], "behind"])
"""


def test_memory_is_that_of_after_an_exec(memory):
    """The number of a process stays when it has a new address space."""
    argv = [sys.executable, "-I", "-S", "-c", PROGRAM, "before"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        found = []
        for _ in range(2):
            address = int(child.stdout.readline())
            memory.attach(child.pid)
            found.append(memory.read(address, 6))
            child.stdin.write(b"\n")
    assert found == [b"before", b"behind"]


def test_nothing_stays_open():
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    memory = ProcessMemory()
    memory.attach(os.getpid())
    memory.attach(os.getpid())
    memory.close()
    memory.close()
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


# -- memfds ---------------------------------------------------------------------------


@pytest.fixture
def memfd():
    memfd = Memfd("test")
    yield memfd
    memfd.close()


def test_memfd_holds_what_was_written(memfd):
    assert (memfd.size(), memfd.read(0, 10)) == (0, b"")
    memfd.write(4, b"abcd")
    assert memfd.size() == 8
    assert memfd.read(0, 100) == b"\0\0\0\0abcd"
    assert memfd.read(6, 1) == b"c"
    memfd.truncate(5)
    assert memfd.read(0, 100) == b"\0\0\0\0a"


def test_memfd_of_a_size_has_it():
    memfd = Memfd("test", 100)
    assert memfd.read(0, 1000) == bytes(100)
    memfd.close()


def test_write_goes_on_where_the_kernel_took_only_a_part(memfd, monkeypatch):
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: whole(fd, bytes(data[:3]), at))
    memfd.write(1, b"0123456789")
    assert memfd.read(0, 100) == b"\x000123456789"


def test_regions_lie_at_their_index_and_take_no_memory():
    regions = Memfd.for_regions("test")
    for index in (0, 7, 8):
        regions.write(index << 40, bytes((index, 1)))
        assert regions.read(index << 40, 3) == bytes((index, 1, 0))
    assert regions.size() == 9 << 40
    assert os.fstat(regions.fd).st_blocks * 512 < 1 << 20
    regions.close()


def test_closing_twice_closes_nothing_else():
    memfd = Memfd("test")
    number = memfd.fd
    memfd.close()
    other = Memfd("other")
    assert other.fd == number, "the lowest number is free again"
    memfd.close()
    assert other.size() == 0
    other.close()


def test_memfd_is_not_inherited_by_chance(memfd):
    assert not os.get_inheritable(memfd.fd)
