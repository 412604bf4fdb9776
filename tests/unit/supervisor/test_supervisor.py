"""The supervisor with the real kernel: a small program calls, as QEMU would."""

import errno
import itertools
import os
import select
import subprocess
import threading
import time

import msgspec
import pytest

from harness.history import Kind, Side
from harness.history.device import Ioctl, Read, UnknownIoctl, Write
from harness.history.process import ZeroCopySends
from harness.scenario import (
    DataPath,
    EmulatedDevice,
    Given,
    LoadBehaviour,
    MigrationState,
    SaveBehaviour,
    WrongDataFd,
)
from harness.supervisor import seccomp
from harness.supervisor import supervisor as module
from harness.supervisor.memory import Memfd
from harness.supervisor.seccomp import DATA_FD_BASE, DATA_FD_END
from harness.supervisor.spawn import Spawn
from harness.supervisor.supervisor import Supervisor, ioctl_name
from harness.vfio import uapi
from harness.vfio.uapi import DeviceState as S
from harness.vfio.uapi import Feature, Iommufd, Vfio

DEADLINE_S = 10.0
SMALL = EmulatedDevice(id="vfio0", size=10_000, bar_size=4096)
SUPERVISED = msgspec.structs.replace(SMALL, data_path=DataPath.SUPERVISED)
BAD_ADDRESS = 0x10
GET, SET = uapi.FEATURE_GET, uapi.FEATURE_SET


def set_state(child, device, state):
    """(value or minus the errno, data_fd) of the arc to ``state``."""
    header = uapi.FEATURE_HEADER.pack(16, Feature.MIG_DEVICE_STATE | SET)
    argument = header + uapi.MIG_STATE.pack(state, 0x7777)
    value, argument = child.ioctl(device.fd, Vfio.DEVICE_FEATURE, argument)
    return value, uapi.MIG_STATE.unpack(argument[8:])[1] if argument else None


def open_data_fd(child, device, state):
    value, data_fd = set_state(child, device, state)
    assert value == 0
    assert data_fd >= 0
    return data_fd


def unknown(bench):
    return [(each.number, each.errno) for each in bench.of(UnknownIoctl)]


# -- ioctls ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (Vfio.DEVICE_FEATURE, "VFIO_DEVICE_FEATURE"),
        (Vfio.MIG_GET_PRECOPY_INFO, "VFIO_MIG_GET_PRECOPY_INFO"),
        (Iommufd.HWPT_ALLOC, "IOMMU_HWPT_ALLOC"),
        (0x7F, "0x7f"),
    ],
)
def test_ioctl_is_named_as_in_the_headers(number, name):
    assert ioctl_name(number) == name


def test_answer_is_written_into_the_callers_memory(bench):
    argument = uapi.DEVICE_INFO.pack(24, 0, 0, 0, 0)
    value, info = bench.child.ioctl(bench.device.fd, Vfio.DEVICE_GET_INFO, argument)
    assert value == 0
    assert uapi.DEVICE_INFO.unpack(info) == (24, 3, 9, 5, 0)


def test_caller_gets_the_errno_of_a_refusal(bench):
    argument = uapi.REGION_INFO.pack(32, 0, 8, 0, 0, 0)
    value, _ = bench.child.ioctl(bench.device.fd, Vfio.DEVICE_GET_REGION_INFO, argument)
    assert value == -errno.EINVAL
    assert unknown(bench) == []


def test_each_device_answers_on_its_own_fd(new_bench):
    other = msgspec.structs.replace(SMALL, id="vfio1", bar_size=8192)
    bench = new_bench(SMALL, other)
    sizes = []
    for device in bench.devices:
        argument = uapi.REGION_INFO.pack(32, 0, 0, 0, 0, 0)
        _, info = bench.child.ioctl(device.fd, Vfio.DEVICE_GET_REGION_INFO, argument)
        sizes.append(uapi.REGION_INFO.unpack(info)[4])
    assert sizes == [4096, 8192]


def test_iommufd_answers_and_is_shared_with_the_devices(bench):
    iommufd = bench.supervisor.iommufd.fd
    value, out = bench.child.ioctl(iommufd, Iommufd.IOAS_ALLOC, uapi.IOAS_ALLOC.pack(12, 0, 0))
    ioas = uapi.IOAS_ALLOC.unpack(out)[2]
    assert (value, ioas) == (0, 1)
    argument = uapi.BIND_IOMMUFD.pack(16, 0, iommufd, 0)
    _, out = bench.child.ioctl(bench.device.fd, Vfio.DEVICE_BIND_IOMMUFD, argument)
    assert uapi.BIND_IOMMUFD.unpack(out)[3] == 2
    mapping = uapi.IOAS_MAP.pack(40, 7, ioas, 0, 0, 4096, 0)
    assert bench.child.ioctl(iommufd, Iommufd.IOAS_MAP, mapping)[0] == 0
    assert bench.supervisor.iommu.mapping_count == 1


def test_errno_and_writes_can_come_together(bench):
    """IOVA_RANGES fails with EMSGSIZE and yet says how many there are."""
    argument = uapi.IOVA_RANGES.pack(32, 1, 0, 0, 0, 0)
    answer = bench.child.call("ioctl", bench.supervisor.iommufd.fd, 0x3B84, argument.hex())
    assert answer == {"errno": errno.EMSGSIZE}


def test_device_memory_is_read_and_written_without_the_supervisor(bench):
    """By the fd that the program has inherited; what it wrote is there for the device."""
    child = bench.child
    assert child.call("write", bench.device.fd, b"guest".hex()) == {"value": 5}
    assert bench.device.regions.read(0, 5) == b"guest"
    assert bench.device.ioctls.total() == 0


def test_bad_address_is_efault(bench):
    answer = bench.child.call("ioctl_at", bench.device.fd, 0x3B6B, BAD_ADDRESS)
    assert answer == {"errno": errno.EFAULT}
    assert unknown(bench) == [("VFIO_DEVICE_GET_INFO", errno.EFAULT)]


def test_ioctl_of_another_file_is_the_kernels_to_answer(bench):
    """Devices of the kernel may be in such a QEMU too.  Standard input is no device."""
    for number in (0x64, 0x7F):
        assert bench.child.ioctl(0, number, bytes(8))[0] == -errno.ENOTTY
    assert unknown(bench) == []


def test_unknown_ioctl_is_enotty_and_recorded(bench):
    child = bench.child
    assert child.ioctl(bench.device.fd, 0x7F, bytes(8))[0] == -errno.ENOTTY
    assert child.ioctl(bench.supervisor.iommufd.fd, 0x8E, bytes(8))[0] == -errno.ENOTTY
    assert unknown(bench) == [("0x7f", errno.ENOTTY), ("0x8e", errno.ENOTTY)]
    records = [record for record in bench.records if record.name == "unknown_ioctl"]
    assert [record.device for record in records] == ["vfio0", ""]
    assert {(record.side, record.kind) for record in records} == {(Side.SOURCE, Kind.DEVICE)}


@pytest.mark.parametrize("feature", [3, 11, 0xFFFF])
def test_unknown_feature_is_recorded_with_its_number(bench, feature):
    header = uapi.FEATURE_HEADER.pack(16, feature | GET | uapi.FEATURE_PROBE)
    value, _ = bench.child.ioctl(bench.device.fd, Vfio.DEVICE_FEATURE, header + bytes(8))
    assert value == -errno.ENOTTY
    assert unknown(bench) == [(f"VFIO_DEVICE_FEATURE {feature}", errno.ENOTTY)]


def test_feature_at_a_bad_address_is_recorded_without_a_number(bench):
    answer = bench.child.call("ioctl_at", bench.device.fd, 0x3B75, BAD_ADDRESS)
    assert answer == {"errno": errno.EFAULT}
    assert unknown(bench) == [("VFIO_DEVICE_FEATURE", errno.EFAULT)]


def test_calls_of_many_threads_are_all_answered(bench):
    child = bench.child
    argument = uapi.DEVICE_INFO.pack(24, 0, 0, 0, 0).hex()
    begun = {child.begin("ioctl", bench.device.fd, 0x3B6B, argument) for _ in range(30)}
    answers = [child.next() for _ in begun]
    assert {answer["number"] for answer in answers} == begun
    assert {answer["value"] for answer in answers} == {0}


def test_number_of_the_data_fd_fills_its_field_and_no_more(new_bench):
    bench = new_bench(SUPERVISED)
    header = uapi.FEATURE_HEADER.pack(16, Feature.MIG_DEVICE_STATE | SET)
    argument = header + uapi.MIG_STATE.pack(S.STOP_COPY, -1) + b"\xee" * 8
    _, argument = bench.child.ioctl(bench.device.fd, Vfio.DEVICE_FEATURE, argument)
    assert argument == header + uapi.MIG_STATE.pack(S.STOP_COPY, DATA_FD_BASE) + b"\xee" * 8


def test_closing_writes_the_tally_of_each_device_once(bench):
    child = bench.child
    for number in (Vfio.DEVICE_SET_IRQS, Vfio.DEVICE_SET_IRQS, 0x7F):
        child.ioctl(bench.device.fd, number, bytes(8))
    bench.close()
    bench.close()
    tally = {each.ioctl: each.count for each in bench.of(Ioctl)}
    assert tally == {"VFIO_DEVICE_SET_IRQS": 2, "0x7f": 1}
    assert len(bench.of(Ioctl)) == 2


# -- data_fds -------------------------------------------------------------------------


def test_saved_memfd_is_read_without_the_supervisor(bench):
    child, device = bench.child, bench.device
    data_fd = open_data_fd(child, device, S.STOP_COPY)
    assert data_fd < DATA_FD_BASE or data_fd >= DATA_FD_END
    data = child.read(data_fd, 6000) + child.read(data_fd, 6000)
    assert data == device.function.saving.state.chunk(0, 10_000)
    assert child.read(data_fd, 6000) == b""
    bench.close()
    assert bench.of(Read) == []


def test_loaded_memfd_is_compared_afterwards(bench):
    child, device = bench.child, bench.device
    data_fd = open_data_fd(child, device, S.RESUMING)
    assert child.write(data_fd, b"abc") == 3
    assert set_state(child, device, S.STOP) == (0, -1)
    assert device.function.loading.report().bytes == 3
    assert device.regions.read((7 << 40) + 0x44, 3) == b"abc"


def test_new_data_fd_is_installed_where_the_filter_sees_it(new_bench):
    bench = new_bench(SUPERVISED, msgspec.structs.replace(SUPERVISED, id="vfio1"))
    child = bench.child
    opened = [
        open_data_fd(child, device, state)
        for state in (S.STOP_COPY, S.RESUMING)
        for device in bench.devices
    ]
    assert opened == [DATA_FD_BASE + n for n in (0, 4, 1, 5)]


def test_extra_data_fd_is_empty_and_takes_no_other_ones_place(new_bench):
    wrong = WrongDataFd(side="source", to=MigrationState.STOP_COPY, gives=Given.EXTRA)
    bench = new_bench(msgspec.structs.replace(SUPERVISED, pre_copy=True, data_fds=(wrong,)))
    child, device = bench.child, bench.device
    data_fd = open_data_fd(child, device, S.PRE_COPY)
    extra = open_data_fd(child, device, S.STOP_COPY)
    assert extra not in (-1, data_fd)
    assert child.read(extra, 4096) == b""
    assert len(child.read(data_fd, 4096)) == 4096


def test_supervised_reads_get_the_state_in_the_devices_sizes(new_bench):
    spec = msgspec.structs.replace(SUPERVISED, save=SaveBehaviour(read_sizes=(5000, 4000)))
    bench = new_bench(spec)
    child, device = bench.child, bench.device
    data_fd = open_data_fd(child, device, S.STOP_COPY)
    pieces = [child.read(data_fd, 4500) for _ in range(4)]
    assert [len(piece) for piece in pieces] == [4500, 4000, 1500, 0]
    assert b"".join(pieces) == device.function.saving.state.chunk(0, 10_000)
    bench.close()
    assert bench.of(Read) == [
        Read(offset=0, asked=4500, got=4500, errno=0),
        Read(offset=4500, asked=4500, got=4000, errno=0),
        Read(offset=8500, asked=4500, got=1500, errno=0),
        Read(offset=10_000, asked=4500, got=0, errno=0),
    ]


def test_supervised_read_fails_at_its_byte(new_bench):
    bench = new_bench(msgspec.structs.replace(SUPERVISED, save=SaveBehaviour(error_at=100)))
    data_fd = open_data_fd(bench.child, bench.device, S.STOP_COPY)
    assert len(bench.child.read(data_fd, 4096)) == 100
    assert bench.child.read(data_fd, 4096) == -errno.EIO
    bench.close()
    assert bench.of(Read)[-1] == Read(offset=100, asked=4096, got=0, errno=errno.EIO)


def test_supervised_writes_are_taken_in_the_devices_sizes(new_bench):
    load = LoadBehaviour(write_sizes=(3, 100), error_at=60)
    bench = new_bench(msgspec.structs.replace(SUPERVISED, load=load))
    child, device = bench.child, bench.device
    data_fd = open_data_fd(child, device, S.RESUMING)
    data = bytes(range(80))
    assert child.write(data_fd, data) == 3
    assert child.write(data_fd, data[3:]) == 57
    assert child.write(data_fd, data[60:]) == -errno.EIO
    assert set_state(child, device, S.STOP)[0] == 0
    assert device.regions.read((7 << 40) + 0x44, 60) == data[:60]
    bench.close()
    assert bench.of(Write) == [
        Write(offset=0, asked=80, got=3, errno=0),
        Write(offset=3, asked=77, got=57, errno=0),
        Write(offset=60, asked=20, got=0, errno=errno.EIO),
    ]


def test_precopy_runs_dry_and_stop_copy_goes_on_with_the_same_data_fd(new_bench):
    bench = new_bench(
        msgspec.structs.replace(SMALL, pre_copy=True, precopy_initial_bytes=40, size=100)
    )
    child, device = bench.child, bench.device
    data_fd = open_data_fd(child, device, S.PRE_COPY)
    info = uapi.PRECOPY_INFO.pack(24, 0, 0, 0)
    _, out = child.ioctl(data_fd, Vfio.MIG_GET_PRECOPY_INFO, info)
    assert uapi.PRECOPY_INFO.unpack(out) == (24, 0, 40, 0)
    assert len(child.read(data_fd, 4096)) == 40
    assert child.read(data_fd, 4096) == -errno.ENOMSG
    assert set_state(child, device, S.STOP_COPY) == (0, -1)
    assert len(child.read(data_fd, 4096)) == 100
    assert child.read(data_fd, 4096) == b""
    value, _ = child.ioctl(data_fd, Vfio.MIG_GET_PRECOPY_INFO, info)
    assert value == -errno.EINVAL


def test_bad_buffer_is_efault_and_moves_nothing(new_bench):
    bench = new_bench(SUPERVISED)
    data_fd = open_data_fd(bench.child, bench.device, S.STOP_COPY)
    answer = bench.child.call("read_to", data_fd, BAD_ADDRESS, 4096)
    assert answer == {"value": -1, "errno": errno.EFAULT}
    assert bench.device.function.saving.position == 0
    assert bench.child.read(data_fd, 10) == bench.device.function.saving.state.chunk(0, 10)


def test_data_fd_that_the_device_has_left_answers_as_a_driver_does(new_bench):
    bench = new_bench(SUPERVISED)
    child, device = bench.child, bench.device
    data_fd = open_data_fd(child, device, S.STOP_COPY)
    assert set_state(child, device, S.STOP) == (0, -1)
    assert child.read(data_fd, 1) == -errno.ENODEV
    assert child.write(data_fd, b"x") == -errno.EBADF
    assert child.read(DATA_FD_END - 1, 1) == -errno.EBADF


def test_reset_disables_the_data_fd_until_the_next(new_bench):
    spec = msgspec.structs.replace(
        SUPERVISED, pre_copy=True, precopy_initial_bytes=30, precopy_dirty_bytes=10
    )
    bench = new_bench(spec)
    child, device = bench.child, bench.device
    old = open_data_fd(child, device, S.PRE_COPY)
    assert child.ioctl(device.fd, Vfio.DEVICE_RESET, b"")[0] == 0
    info = uapi.PRECOPY_INFO.pack(uapi.PRECOPY_INFO.size, 0, 0, 0)
    assert child.read(old, 1) == -errno.ENODEV
    assert child.ioctl(old, Vfio.MIG_GET_PRECOPY_INFO, info)[0] == -errno.EINVAL
    new = open_data_fd(child, device, S.PRE_COPY)
    assert new != old
    assert child.read(old, 1) == -errno.ENODEV
    assert child.ioctl(old, Vfio.MIG_GET_PRECOPY_INFO, info)[0] == -errno.ENODEV
    assert len(child.read(new, 4096)) == 40


def test_loading_data_fd_that_was_reset_takes_nothing(new_bench):
    bench = new_bench(SUPERVISED)
    child, device = bench.child, bench.device
    data_fd = open_data_fd(child, device, S.RESUMING)
    assert child.write(data_fd, b"12345") == 5
    assert child.ioctl(device.fd, Vfio.DEVICE_RESET, b"")[0] == 0
    assert child.write(data_fd, b"6") == -errno.ENODEV
    assert child.read(data_fd, 1) == -errno.EBADF


def test_refused_call_is_recorded_with_a_time_before_its_answer(new_bench, monkeypatch):
    """What QEMU says of it has a later one."""
    bench = new_bench(msgspec.structs.replace(SUPERVISED, save=SaveBehaviour(error_at=0)))
    data_fd = open_data_fd(bench.child, bench.device, S.STOP_COPY)
    send, sent_ns = seccomp.send, []

    def timed(*args):
        sent_ns.append(time.time_ns())
        return send(*args)

    monkeypatch.setattr(seccomp, "send", timed)
    for _ in range(2):  # once it has taken up the second call it has recorded the first
        assert bench.child.read(data_fd, 1) == -errno.EIO
    read = next(record for record in bench.records if record.name == "read")
    assert read.args.errno == errno.EIO
    assert read.t_ns <= sent_ns[0]


def test_data_fd_goes_one_way_only(new_bench):
    bench = new_bench(SUPERVISED)
    data_fd = open_data_fd(bench.child, bench.device, S.STOP_COPY)
    assert bench.child.write(data_fd, b"x") == -errno.EBADF


# -- delays ---------------------------------------------------------------------------


def delayed(spec, read_s=0.0, write_s=0.0):
    return msgspec.structs.replace(
        spec,
        data_path=DataPath.SUPERVISED,
        save=SaveBehaviour(read_delay_s=read_s),
        load=LoadBehaviour(write_delay_s=write_s),
    )


@pytest.fixture
def taken(monkeypatch):
    """Set whenever a data call was taken up, answered or not."""
    event = threading.Event()
    handle = Supervisor._handle_data

    def handle_and_tell(*args):
        handle(*args)
        event.set()

    monkeypatch.setattr(Supervisor, "_handle_data", handle_and_tell)
    return event


def test_delayed_call_takes_its_time(new_bench):
    bench = new_bench(delayed(SMALL, read_s=0.1), delayed(SMALL, write_s=0.1))
    child, (reader, writer) = bench.child, bench.devices
    read_fd = open_data_fd(child, reader, S.STOP_COPY)
    write_fd = open_data_fd(child, writer, S.RESUMING)
    took = []
    for _ in range(3):
        times = [time.monotonic()]
        assert len(child.read(read_fd, 10)) == 10
        times.append(time.monotonic())
        assert child.write(write_fd, b"0123456789") == 10
        times.append(time.monotonic())
        took += [after - before for before, after in itertools.pairwise(times)]
    assert min(took) >= 0.1
    assert min(took[::2]) < 0.7, "and not more than the machine's own"
    assert min(took[1::2]) < 0.7


def test_supervisor_waits_while_a_call_is_delayed(new_bench, taken):
    bench = new_bench(delayed(SMALL, 600))
    supervisor, child = bench.supervisor, bench.child
    assert supervisor.thread_id not in (0, threading.get_native_id())
    data_fd = open_data_fd(child, bench.device, S.STOP_COPY)
    assert not supervisor.is_waiting
    read = child.begin("read", data_fd, 10)
    assert taken.wait(DEADLINE_S)
    assert supervisor.is_waiting
    supervisor.pause(True)
    assert child.next()["number"] == read
    assert not supervisor.is_waiting


def test_delayed_read_does_not_hold_up_the_ioctl_of_another_thread(new_bench, taken):
    bench = new_bench(delayed(SMALL, 0.3))
    child, device = bench.child, bench.device
    data_fd = open_data_fd(child, device, S.STOP_COPY)
    read = child.begin("read", data_fd, 10)
    assert taken.wait(DEADLINE_S)
    ioctl = child.begin("ioctl", device.fd, 0x3B6E, "")
    assert [child.next()["number"], child.next()["number"]] == [ioctl, read]


def test_delayed_calls_are_answered_when_each_is_due(new_bench, taken):
    slow, fast = delayed(SMALL, 0.3), delayed(msgspec.structs.replace(SMALL, id="vfio1"), 0.1)
    bench = new_bench(slow, fast)
    child = bench.child
    data_fds = [open_data_fd(child, device, S.STOP_COPY) for device in bench.devices]
    begun = []
    for data_fd in data_fds:
        taken.clear()
        begun.append(child.begin("read", data_fd, 10))
        assert taken.wait(DEADLINE_S)
    assert [child.next()["number"], child.next()["number"]] == begun[::-1]


# -- life -----------------------------------------------------------------------------


def test_program_is_started_as_it_was_asked_for(bench):
    child = bench.launch(env={"WORD": "given"})
    facts = child.call("facts")
    assert facts == {"session": child.process.pid, "environment": "given"}


def test_output_goes_where_it_was_asked_to(bench, tmp_path):
    with (tmp_path / "out").open("w+b") as out, (tmp_path / "err").open("w+b") as err:
        argv = ["sh", "-c", "echo out; echo err >&2"]
        process = bench.supervisor.launch(Spawn(argv=argv, stdout=out, stderr=err))
        assert process.wait(DEADLINE_S) == 0
    assert (tmp_path / "out").read_bytes() == b"out\n"
    assert (tmp_path / "err").read_bytes() == b"err\n"


def test_end_of_the_program_ends_the_thread_and_all_is_given_up(open_fds, new_bench):
    before = open_fds()
    bench = new_bench(SUPERVISED)
    child = bench.child
    open_data_fd(child, bench.device, S.STOP_COPY)
    child.begin("exit", 7)
    assert child.wait() == 7
    bench.supervisor.close()
    child.close()
    assert bench.supervisor.failure is None
    assert not [thread for thread in threading.enumerate() if "supervisor" in thread.name]
    assert open_fds() == before


def test_closing_waits_for_the_end_of_the_program(new_bench):
    bench = new_bench(SMALL)
    child = bench.child
    closing = threading.Thread(target=bench.supervisor.close)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    child.close()
    closing.join(DEADLINE_S)
    assert not closing.is_alive()


@pytest.mark.parametrize("delay_s", [60.0, 0.0])
def test_program_killed_in_mid_call_is_no_failure(new_bench, taken, delay_s):
    bench = new_bench(delayed(SMALL, delay_s))
    child = bench.child
    data_fd = open_data_fd(child, bench.device, S.STOP_COPY)
    for _ in range(1 if delay_s else 20):
        child.begin("read", data_fd, 10)
    assert taken.wait(DEADLINE_S)
    child.kill()
    before = time.monotonic()
    bench.supervisor.close()
    assert time.monotonic() - before < DEADLINE_S
    assert bench.supervisor.failure is None


def test_call_that_was_never_answered_moved_nothing(new_bench, taken):
    bench = new_bench(delayed(SMALL, 60.0))
    data_fd = open_data_fd(bench.child, bench.device, S.STOP_COPY)
    bench.child.begin("read", data_fd, 10)
    assert taken.wait(DEADLINE_S)
    bench.child.kill()
    bench.supervisor.close()
    assert bench.device.function.saving.position == 0
    assert bench.of(Read) == []


def test_caller_that_is_gone_when_its_answer_comes_has_moved_nothing(new_bench, monkeypatch):
    """The kernel refuses the answer; QEMU would ask again."""
    bench = new_bench(SUPERVISED)
    child = bench.child
    data_fd = open_data_fd(child, bench.device, S.STOP_COPY)
    send = seccomp.send
    monkeypatch.setattr(seccomp, "send", lambda *args: send(*args) and False)
    assert len(child.read(data_fd, 10)) == 10
    monkeypatch.setattr(seccomp, "send", send)
    assert child.call("facts")["session"] == child.process.pid
    bench.close()
    assert bench.device.function.saving.position == 0
    assert bench.of(Read) == []


def test_caller_that_is_gone_before_its_answer_is_not_written_to(new_bench, monkeypatch):
    bench = new_bench(SUPERVISED)
    child = bench.child
    data_fd = open_data_fd(child, bench.device, S.STOP_COPY)
    monkeypatch.setattr(seccomp, "is_valid", lambda *_args: False)
    argument = uapi.DEVICE_INFO.pack(24, 0, 0, 0, 0)
    value, _ = child.ioctl(bench.device.fd, Vfio.DEVICE_GET_INFO, argument)
    assert value == -errno.EINTR
    child.begin("read", data_fd, 10)
    child.kill()
    bench.supervisor.close()
    assert bench.device.function.saving.position == 0


def test_broken_device_is_a_failure_and_the_program_is_told(bench, monkeypatch):
    child = bench.child

    def broken(*_args):
        raise ZeroDivisionError

    monkeypatch.setattr(bench.device.function, "ioctl", broken)
    assert child.ioctl(bench.device.fd, Vfio.DEVICE_GET_INFO, bytes(24))[0] == -errno.ENOSYS
    bench.close()
    assert isinstance(bench.supervisor.failure, ZeroDivisionError)


def test_missing_program_is_an_os_error_and_leaves_nothing(open_fds, new_bench, tmp_path):
    before = open_fds()
    bench = new_bench(SMALL)
    with pytest.raises(FileNotFoundError):
        bench.supervisor.launch(Spawn(argv=[str(tmp_path / "none")]))
    bench.supervisor.close()
    assert open_fds() == before


def test_sends_with_zero_copy_are_counted_and_the_kernels_to_answer(new_bench):
    bench = new_bench(SMALL, watches_sends=True)
    for flags in (0x4000000, 0x4004000, 0x4000, 0):
        answer = bench.child.call("sendmsg", bench.supervisor.iommufd.fd, flags)
        assert answer == {"value": -1, "errno": errno.ENOTSOCK}
    assert not bench.of(ZeroCopySends), "it may send more"
    bench.close()
    bench.close()
    assert bench.of(ZeroCopySends) == [ZeroCopySends(count=2, sockets=1)]


def test_sends_are_not_watched_unless_wanted(bench):
    answer = bench.child.call("sendmsg", bench.supervisor.iommufd.fd, 0x4000000)
    assert answer["errno"] == errno.ENOTSOCK
    bench.close()
    assert not bench.of(ZeroCopySends)


def test_refused_filter_is_passed_on_to_the_caller(bench, monkeypatch):
    def refused(_has_zero_copy):
        raise OSError(errno.EPERM, "refused")

    monkeypatch.setattr(seccomp, "install_filter", refused)
    with pytest.raises(PermissionError):
        bench.supervisor.launch(Spawn(argv=["true"]))


def test_program_that_ends_at_once_is_no_failure(new_bench):
    """However soon somebody waits for it."""
    for _ in range(20):
        bench = new_bench()
        process = bench.supervisor.launch(Spawn(argv=["true"]))
        process.wait(DEADLINE_S)
        bench.supervisor.close()
        assert bench.supervisor.failure is None


def test_program_works_where_it_shall_and_what_it_makes_is_private(bench, tmp_path):
    process = bench.supervisor.launch(Spawn(argv=["sh", "-c", ": >file"], cwd=tmp_path))
    assert process.wait(DEADLINE_S) == 0
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_supervisor_that_launched_nothing_can_be_closed(bench):
    bench.supervisor.close()
    assert bench.of(Ioctl) == []


def test_only_the_device_fds_the_iommufd_and_what_was_given_are_inherited(new_bench):
    bench = new_bench(SMALL, msgspec.structs.replace(SMALL, id="vfio1"))
    given, kept = os.memfd_create("given"), os.memfd_create("kept", 0)
    os.set_inheritable(kept, True)
    process = bench.supervisor.launch(
        Spawn(argv=["ls", "/proc/self/fd"], pass_fds=(given,), stdout=subprocess.PIPE)
    )
    output, _ = process.communicate(timeout=DEADLINE_S)
    os.close(given)
    os.close(kept)
    listing = {int(number) for number in output.split()}
    assert {given, bench.supervisor.iommufd.fd, *(d.fd for d in bench.devices)} <= listing
    assert kept not in listing


def test_pause_answers_what_is_delayed_and_takes_no_more_until_its_end(new_bench):
    """Else a debugger could not stop the thread: the call that was taken cannot be interrupted."""
    bench = new_bench(msgspec.structs.replace(SUPERVISED, load=LoadBehaviour(write_delay_s=60.0)))
    child, device = bench.child, bench.device
    data_fd = open_data_fd(child, device, S.RESUMING)
    first = child.begin("write", data_fd, "0a")
    while not bench.supervisor._due:
        pass
    bench.supervisor.pause(True)
    assert child.next() == {"number": first, "value": 1}
    second = child.begin("ioctl", device.fd, 0x3B00 | 111, "")  # a reset, which has no delay
    poll = select.poll()
    poll.register(child._talk, select.POLLIN)
    assert not poll.poll(200), "nothing is answered"
    bench.supervisor.pause(False)
    assert child.next()["number"] == second


def test_pause_of_a_supervisor_that_is_closed_does_nothing(bench):
    bench.child.close()
    bench.supervisor.close()
    bench.supervisor.pause(True)


def test_closing_does_not_wait_for_ever_for_a_program_that_stays(new_bench, monkeypatch):
    monkeypatch.setattr(module, "_JOIN_S", 0.05)
    bench = new_bench(SMALL)
    assert bench.child
    bench.supervisor.close()
    assert "did not end within 0.05 s" in str(bench.supervisor.failure)
    monkeypatch.undo()
    bench.close()


def test_state_that_is_generated_when_qemu_is_gone_is_given_up_and_no_failure(new_bench):
    """Terabytes of it: closing would wait for the last one."""
    bench = new_bench(msgspec.structs.replace(SMALL, size=1 << 40, data_path=DataPath.MEMFD))
    child, device = bench.child, bench.device
    began = threading.Event()
    write = Memfd.write

    def told(self, offset, data):
        began.set()
        if offset < 64 << 20:
            write(self, offset, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Memfd, "write", told)
        argument = uapi.FEATURE_HEADER.pack(16, Feature.MIG_DEVICE_STATE | SET)
        argument += uapi.MIG_STATE.pack(S.STOP_COPY, 0x7777)
        child.begin("ioctl", device.fd, 0x3B00 | Vfio.DEVICE_FEATURE, argument.hex())
        assert began.wait(DEADLINE_S)
        child.kill()
        bench.supervisor.close()
    assert bench.supervisor.failure is None
