"""One device in one QEMU: how its data_fds are made, numbered, kept and given up."""

import ctypes
import errno
import os
import time

import msgspec
import pytest

from harness.errors import UsageError
from harness.history import Kind, Record, Side
from harness.history.device import DataFd
from harness.scenario import (
    DataPath,
    EmulatedDevice,
    Given,
    Lie,
    LoadBehaviour,
    MigrationState,
    RefusedArc,
    SaveBehaviour,
    WrongDataFd,
)
from harness.supervisor import attached
from harness.supervisor.attached import AttachedDevice, uses_memfd
from harness.supervisor.memory import ProcessMemory
from harness.supervisor.seccomp import DATA_FD_BASE, DATA_FD_END
from harness.vfio import uapi
from harness.vfio.iommu import Iommu
from harness.vfio.state_bytes import StateBytes
from harness.vfio.uapi import DeviceState as S
from harness.vfio.uapi import Feature, Vfio

SMALL = EmulatedDevice(id="vfio0", size=10_000, bar_size=4096)
SUPERVISED = msgspec.structs.replace(SMALL, data_path=DataPath.SUPERVISED)
GIB = 1 << 30


def device_with(**settings):
    return msgspec.structs.replace(SMALL, **settings)


@pytest.mark.parametrize(
    ("settings", "saving", "loading"),
    [
        ({}, True, True),
        ({"size": GIB}, True, True),
        ({"size": GIB + 1}, False, False),
        ({"pre_copy": True}, False, True),
        ({"save": SaveBehaviour(read_sizes=(1,))}, False, True),
        ({"save": SaveBehaviour(read_delay_s=0.1)}, False, True),
        ({"save": SaveBehaviour(error_at=0)}, False, True),
        ({"load": LoadBehaviour(write_sizes=(1,))}, True, False),
        ({"load": LoadBehaviour(write_delay_s=0.1)}, True, False),
        ({"load": LoadBehaviour(error_at=0)}, True, False),
        ({"load": LoadBehaviour(lie=Lie.WRONG_BYTE, lie_at=3)}, True, True),
        ({"load": LoadBehaviour(lie=Lie.WRONG_BYTE), "size": GIB + 1}, True, True),
        ({"data_path": DataPath.SUPERVISED}, False, False),
        ({"data_path": DataPath.MEMFD, "size": GIB + 1}, True, True),
    ],
)
def test_memfd_is_used_where_nobody_needs_to_see_the_calls(settings, saving, loading):
    spec = device_with(**settings)
    assert uses_memfd(spec, is_saving=True) is saving
    assert uses_memfd(spec, is_saving=False) is loading


class Attached:
    """A device, and the ioctls of its QEMU, whose memory is our own."""

    def __init__(self, spec, index=0):
        self.records: list[Record] = []
        self.device = AttachedDevice(spec, Side.SOURCE, Iommu(), index, self.records.append)
        self._memory = ProcessMemory()
        self._memory.attach(os.getpid())

    def go(self, *states):
        """Ask for the states; what the last arc wants to be installed, if anything."""
        install = None
        for state in states:
            argument = uapi.FEATURE_HEADER.pack(16, Feature.MIG_DEVICE_STATE | uapi.FEATURE_SET)
            buffer = ctypes.create_string_buffer(argument + uapi.MIG_STATE.pack(state, -1), 16)
            answer = self.device.function.ioctl(
                Vfio.DEVICE_FEATURE, ctypes.addressof(buffer), self._memory
            )
            assert answer.errno == 0
            if answer.drops_data_fd:
                self.device.close_data_fd()
            install = answer.install
        return install

    def open(self, *states):
        """Ask for the states and open the data_fd of the last: our fd, its number in QEMU."""
        install = self.go(*states)
        assert install is not None
        return self.device.open_data_fd(install.is_saving)

    def close(self):
        self.device.close()
        self._memory.close()


@pytest.fixture
def attach():
    """Makes attached devices."""
    made = []

    def make(*args):
        made.append(Attached(*args))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_device_fd_is_the_memfd_of_the_regions(attach):
    device = attach(SMALL).device
    assert os.pread(device.fd, 2, 7 << 40) == b"\x34\x12", "the vendor's id"


def test_number_of_the_device_fd_stays_known_when_it_is_closed(attach):
    """QEMU 10 names the device by it in its trace, which is read afterwards."""
    device = attach(SMALL).device
    number = device.fd
    device.close()
    assert device.fd == number > 0


def test_device_has_no_data_fd_before_one_is_opened(attach):
    assert attach(SMALL).device.data_fd == -1


def test_what_happens_is_recorded_with_side_time_and_device(attach):
    made = attach(SMALL)
    before = time.time_ns()
    made.go(S.STOP)
    (record,) = made.records
    assert (record.side, record.kind, record.name) == (Side.SOURCE, Kind.DEVICE, "arc")
    assert record.device == "vfio0"
    assert record.args.state == "STOP"
    assert before <= record.t_ns <= time.time_ns()


def test_saved_memfd_is_the_state_with_the_contents_of_the_stop(attach):
    made = attach(SMALL)
    made.device.prepare()
    made.device.function.fill_contents()
    fd, number = made.open(S.STOP_COPY)
    saving = made.device.function.saving
    assert saving is not None
    assert number is None, "any number will do"
    assert os.pread(fd, 20_000, 0) == saving.state.chunk(0, 20_000)
    assert saving.state.head != bytes(len(saving.state.head))
    assert os.lseek(fd, 0, os.SEEK_CUR) == 0, "QEMU shares the position"


def test_state_that_nobody_prepared_is_made_when_it_is_needed(attach):
    made = attach(SMALL)
    fd, _ = made.open(S.STOP_COPY)
    assert os.fstat(fd).st_size == 10_000


@pytest.mark.parametrize("size", [0, 1, (1 << 20) + 1])
def test_prepared_state_has_its_size(attach, size):
    made = attach(device_with(size=size))
    made.device.prepare()
    fd, _ = made.open(S.STOP_COPY)
    assert os.fstat(fd).st_size == size


def test_prepared_state_is_used_and_made_only_once(attach, monkeypatch):
    made = attach(SMALL)
    made.device.prepare()
    monkeypatch.setattr(attached, "StateBytes", None)
    made.device.prepare()
    made.open(S.STOP_COPY)


@pytest.mark.parametrize(
    ("settings", "is_made"),
    [({"load": LoadBehaviour(write_sizes=(1,))}, True), ({"pre_copy": True}, False)],
)
def test_state_is_made_ahead_only_for_a_memfd(attach, open_fds, settings, is_made):
    made = attach(device_with(**settings))
    before = open_fds()
    made.device.prepare()
    assert (open_fds() != before) is is_made


def test_new_data_fd_closes_the_one_before(attach, open_fds):
    """Also where no arc has dropped that."""
    made = attach(SUPERVISED)
    made.open(S.STOP_COPY)
    before = open_fds()
    made.device.open_data_fd(is_saving=True)
    assert open_fds() == before


def test_second_save_starts_from_a_fresh_memfd(attach):
    made = attach(SMALL)
    first, _ = made.open(S.STOP_COPY)
    os.lseek(first, 500, os.SEEK_SET)
    second, _ = made.open(S.STOP, S.STOP_COPY)
    assert os.lseek(second, 0, os.SEEK_CUR) == 0
    assert os.fstat(second).st_size == 10_000


def test_loaded_memfd_begins_empty_and_is_looked_at_afterwards(attach):
    made = attach(SMALL)
    fd, number = made.open(S.RESUMING)
    assert (number, os.fstat(fd).st_size) == (None, 0)
    expected = StateBytes(1, 10_000, b"h" * 4156)
    made.device.function.expected = lambda: expected
    os.write(fd, expected.chunk(0, 10_000))
    made.go(S.STOP, S.RUNNING)
    loading = made.device.function.loading
    assert loading is not None
    assert loading.report().first_difference == -1
    assert os.pread(made.device.fd, 10, 0) == b"h" * 10


def test_supervised_data_fds_take_their_numbers_in_turn(attach):
    made = attach(SUPERVISED, 1)
    numbers = [made.open(S.STOP, S.STOP_COPY)[1] for _ in range(5)]
    assert numbers == [DATA_FD_BASE + 4 + n for n in (0, 1, 2, 3, 0)]


def test_numbers_of_all_devices_are_within_the_filters_range(attach):
    most = (DATA_FD_END - DATA_FD_BASE) // 4
    seen = {attach(SUPERVISED, index).open(S.STOP_COPY)[1] for index in range(most)}
    assert len(seen) == most
    assert DATA_FD_BASE <= min(seen) <= max(seen) < DATA_FD_END


def test_more_devices_than_there_are_numbers_are_refused(open_fds):
    before = open_fds()
    with pytest.raises(UsageError, match=r"^vfio0: there can be 16 emulated devices, not more$"):
        AttachedDevice(SMALL, Side.SOURCE, Iommu(), 16, lambda _record: None)
    assert open_fds() == before


@pytest.mark.parametrize("spec", [SMALL, SUPERVISED])
@pytest.mark.parametrize(
    ("state", "direction"), [(S.STOP_COPY, "saving"), (S.RESUMING, "resuming")]
)
def test_opened_data_fd_is_recorded(attach, spec, state, direction):
    made = attach(spec)
    made.open(state)
    assert made.records[-1].name == "data_fd"
    assert made.records[-1].args == DataFd(
        direction=direction, mode="supervised" if spec is SUPERVISED else "memfd"
    )


def test_call_belongs_to_the_transfer_of_its_direction(attach):
    made = attach(SUPERVISED)
    made.open(S.STOP_COPY)
    made.open(S.STOP, S.RESUMING)
    assert made.device.transfer("read") is made.device.function.saving is not None
    assert made.device.transfer("write") is made.device.function.loading is not None


@pytest.mark.parametrize("spec", [SMALL, SUPERVISED])
@pytest.mark.parametrize("state", [S.STOP_COPY, S.RESUMING])
def test_dropped_data_fd_has_no_number_any_more(attach, spec, state):
    made = attach(spec)
    made.open(state)
    made.device.data_fd = 900
    made.go(S.STOP)
    assert made.device.data_fd == -1


def test_dropped_saved_memfd_is_closed(attach):
    made = attach(SMALL)
    fd, _ = made.open(S.STOP_COPY)
    made.go(S.STOP)
    with pytest.raises(OSError) as failure:
        os.fstat(fd)
    assert failure.value.errno == errno.EBADF


def test_loaded_state_stays_readable_until_the_next(attach):
    made = attach(SMALL)
    fd, _ = made.open(S.RESUMING)
    os.write(fd, b"loaded")
    made.open(S.STOP, S.STOP_COPY)
    made.go(S.STOP)
    loading = made.device.function.loading
    assert loading is not None
    assert loading.report().bytes == 6
    made.open(S.RESUMING)
    assert made.device.function.loading is not loading
    assert os.fstat(fd).st_size == 0, "the number is that of the next memfd"


@pytest.mark.parametrize("spec", [SMALL, SUPERVISED])
def test_nothing_stays_open(open_fds, spec):
    before = open_fds()
    made = Attached(spec)
    made.device.prepare()
    made.open(S.STOP_COPY)
    made.open(S.STOP, S.RESUMING)
    made.open(S.STOP, S.STOP_COPY)
    made.open(S.STOP, S.RESUMING)
    made.device.prepare()
    made.close()
    assert open_fds() == before


def test_device_behaves_otherwise_in_a_migration_after_that(attach):
    qemu = attach(SMALL)
    data_fds = (WrongDataFd(side="source", to=MigrationState.STOP_COPY, gives=Given.NONE),)
    save = SaveBehaviour(read_sizes=(7,))
    qemu.device.behave(device_with(data_fds=data_fds, save=save))
    assert qemu.go(S.STOP_COPY) is None
    assert qemu.device.function.saving.read(4096).count == 7
    assert not uses_memfd(qemu.device.spec, is_saving=True)
    qemu.device.behave(SMALL)
    assert qemu.go(S.STOP, S.STOP_COPY) is not None
    assert qemu.device.function.saving.read(4096).count == 4096


def test_only_what_is_of_the_source_counts_then(attach):
    qemu = attach(SMALL)
    refuses = (RefusedArc(side="destination", to=MigrationState.STOP_COPY),)
    qemu.device.behave(device_with(refuses=refuses))
    assert qemu.go(S.STOP_COPY) is not None
