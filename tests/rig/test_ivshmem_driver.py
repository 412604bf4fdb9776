"""The rig's variant driver itself, asked as QEMU asks it: each parameter does what it says."""

import contextlib
import errno
import fcntl
import os
import struct
from pathlib import Path

import pytest

from harness.devices.ivshmem import pattern
from harness.devices.ivshmem_driver import Driver
from harness.devices.pci_bus import PciBus
from harness.history.device import Arc
from harness.vfio import uapi
from harness.vfio.uapi import Container, DeviceState, Feature, Vfio

ADDRESS = "0000:00:12.0"
SIZE = 16 << 20
HEAD = 32
NAME = "ivshmem_vfio_pci"
NONE = (1 << 64) - 1


def ioctl(fd, number, argument):
    return fcntl.ioctl(fd, uapi.IOCTL_TYPE << uapi.IOCTL_TYPE_SHIFT | number, argument)


class Function:
    """The function, opened by its group."""

    def __init__(self, bus, stack):
        function = bus.function(ADDRESS)
        group = bus.group_file(function)
        container, opened = (
            os.open(path, os.O_RDWR | os.O_CLOEXEC) for path in (group.with_name("vfio"), group)
        )
        ioctl(opened, Container.GROUP_SET_CONTAINER, bytearray(struct.pack("i", container)))
        ioctl(container, Container.SET_IOMMU, uapi.TYPE1V2_IOMMU)
        self.fd = ioctl(opened, Container.GROUP_GET_DEVICE_FD, bytearray(f"{ADDRESS}\0".encode()))
        for fd in (container, opened, self.fd):
            stack.callback(os.close, fd)
        self._stack = stack

    def feature(self, flags, layout, *values):
        header = uapi.FEATURE_HEADER.pack(uapi.FEATURE_HEADER.size + layout.size, flags)
        answer = bytearray(header + layout.pack(*values))
        ioctl(self.fd, Vfio.DEVICE_FEATURE, answer)
        return layout.unpack_from(answer, uapi.FEATURE_HEADER.size)

    def go(self, state):
        """To ``state``; its data_fd, or -1."""
        flags = uapi.FEATURE_SET | Feature.MIG_DEVICE_STATE
        _, data_fd = self.feature(flags, uapi.MIG_STATE, state, -1)
        if data_fd >= 0:
            self._stack.callback(os.close, data_fd)
        return data_fd

    @property
    def state(self):
        flags = uapi.FEATURE_GET | Feature.MIG_DEVICE_STATE
        return DeviceState(self.feature(flags, uapi.MIG_STATE, 0, -1)[0])

    @property
    def data_size(self):
        return self.feature(uapi.FEATURE_GET | Feature.MIG_DATA_SIZE, uapi.MIG_DATA_SIZE, 0)[0]


@pytest.fixture
def driver():
    """Bound, with what a driver that was just bound has; given back."""
    bus = PciBus()
    found = bus.function(ADDRESS)
    bus.bind(found, NAME)
    try:
        yield Driver(ADDRESS)
    finally:
        bus.restore(ADDRESS, found.driver, found.override)


@pytest.fixture
def opened(driver):
    with contextlib.ExitStack() as stack:
        yield lambda: Function(PciBus(), stack)


def fails(number):
    return pytest.raises(OSError, match=rf"\[Errno {number}\]")


def test_state_is_header_and_memory_and_makes_another_function_the_same(driver, opened):
    driver.write(0, pattern(5)(0, SIZE))
    function = opened()
    assert function.data_size == HEAD + SIZE
    data_fd = function.go(DeviceState.STOP_COPY)
    saved = b""
    while data := os.read(data_fd, 1 << 20):
        saved += data
    assert saved[HEAD:] == pattern(5)(0, SIZE)
    assert driver.get("read_bytes") == len(saved) == HEAD + SIZE
    assert function.data_size == 0
    assert function.go(DeviceState.RUNNING) == -1
    with fails(errno.ENODEV):
        os.read(data_fd, 1)

    driver.write(0, bytes(1 << 20))
    data_fd = function.go(DeviceState.RESUMING)
    with fails(errno.EINVAL):
        os.write(data_fd, bytes(HEAD))  # no header
    assert os.write(data_fd, saved) == len(saved)
    with fails(errno.ENOSPC):
        os.write(data_fd, b"x")
    assert function.go(DeviceState.RUNNING) == -1
    assert driver.read(0, 1 << 20) == saved[HEAD : HEAD + (1 << 20)]


def test_half_of_a_state_is_refused(driver, opened):
    function = opened()
    data_fd = function.go(DeviceState.STOP_COPY)
    half = os.read(data_fd, 1 << 20)
    data_fd = function.go(DeviceState.RESUMING)
    os.write(data_fd, half)
    with fails(errno.EINVAL):
        function.go(DeviceState.RUNNING)
    assert function.state is DeviceState.RESUMING


def test_pre_copy_offers_what_is_set_and_has_more_later(driver, opened):
    driver.set("pre_copy_bytes", 4096)
    function = opened()
    data_fd = function.go(DeviceState.PRE_COPY)
    info = bytearray(uapi.PRECOPY_INFO.pack(uapi.PRECOPY_INFO.size, 0, 0, 0))
    ioctl(data_fd, Vfio.MIG_GET_PRECOPY_INFO, info)
    assert uapi.PRECOPY_INFO.unpack(info)[2:] == (HEAD + 4096, 0)
    assert len(os.read(data_fd, 1 << 20)) == HEAD + 4096
    with fails(errno.ENOMSG):
        os.read(data_fd, 1)
    assert function.go(DeviceState.STOP_COPY) == -1
    with fails(errno.EINVAL):
        ioctl(data_fd, Vfio.MIG_GET_PRECOPY_INFO, info)
    assert function.data_size == SIZE
    assert len(os.read(data_fd, 1 << 20)) == 1 << 20


def test_reads_are_cut_short_and_fail_where_they_are_set_to(driver, opened):
    driver.set("read_most", 1000)
    driver.set("read_error_at", 1500)
    data_fd = opened().go(DeviceState.STOP_COPY)
    assert [len(os.read(data_fd, 4096)) for _ in range(2)] == [1000, 500]
    with fails(errno.EIO):
        os.read(data_fd, 4096)
    driver.set("read_error_at", NONE)
    assert len(os.read(data_fd, 4096)) == 1000


def test_writes_are_cut_short_and_fail_where_they_are_set_to(driver, opened):
    function = opened()
    state = os.read(function.go(DeviceState.STOP_COPY), 4096)
    driver.set("write_most", 1000)
    driver.set("write_error_at", 1500)
    data_fd = function.go(DeviceState.RESUMING)
    assert [os.write(data_fd, state[at:]) for at in (0, 1000)] == [1000, 500]
    with fails(errno.EIO):
        os.write(data_fd, state[1500:])
    assert driver.get("written_bytes") == 1500


def test_arc_that_is_refused_leaves_the_state_before_it(driver, opened):
    driver.set("refuse_stop_copy", errno.EBUSY)
    function = opened()
    with fails(errno.EBUSY):
        function.go(DeviceState.STOP_COPY)
    assert function.state is DeviceState.STOP
    driver.set("refuse_stop_copy", 0)
    assert function.go(DeviceState.STOP_COPY) >= 0
    arcs = [body for _, body in driver.events() if isinstance(body, Arc)]
    assert [(arc.state, arc.path, arc.errno) for arc in arcs] == [
        ("STOP_COPY", ["RUNNING_P2P", "STOP"], errno.EBUSY),
        ("STOP_COPY", ["STOP_COPY"], 0),
    ]


def test_abilities_are_those_that_are_set(driver, opened):
    driver.set("migration_flags", 1)
    driver.set("data_size", 77)
    function = opened()
    assert function.data_size == 77
    with fails(errno.EINVAL):
        function.go(DeviceState.PRE_COPY)
    assert function.go(DeviceState.STOP_COPY) >= 0


def test_kernel_has_warned_of_nothing():
    log = Path("/dev/kmsg")
    with log.open("rb", buffering=0) as lines:
        os.set_blocking(lines.fileno(), False)
        said = []
        with contextlib.suppress(BlockingIOError):
            while line := os.read(lines.fileno(), 8192):
                said.append(line.decode(errors="replace"))
    assert not [line for line in said if any(word in line for word in ("WARNING:", "BUG:", "Oops"))]
