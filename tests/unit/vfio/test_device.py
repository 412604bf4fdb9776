"""The device, driven as QEMU drives it (hw/vfio/device.c, pci.c, migration.c)."""

import errno
import itertools
import struct

import msgspec
import pytest

from harness.history.device import (
    Arc,
    Config,
    DataFdError,
    PrecopyInfoV2,
    Reinit,
    Reset,
    SizeAnswer,
)
from harness.history.device import Lie as LieTold
from harness.history.records import Body
from harness.scenario import EmulatedDevice, Given, Lie, LoadBehaviour, SaveBehaviour
from harness.scenario.misreports import UINT64_MAX, Misreport, Query
from harness.scenario.precopy import PrecopyChange
from harness.vfio import config_space, uapi
from harness.vfio.answer import UNKNOWN, InstallDataFd
from harness.vfio.device import PciFunction
from harness.vfio.iommu import Iommu
from harness.vfio.state_bytes import StateBytes
from harness.vfio.transfer import Loading, Saving
from harness.vfio.uapi import DeviceState as S
from harness.vfio.uapi import Feature, Irq, Region, Vfio
from tests.unit.vfio.test_transfer import File

ARGUMENT_AT = 0x7FFF_0000_1000
DATA_AT = ARGUMENT_AT + 8  # behind the header of VFIO_DEVICE_FEATURE
BAR = 4096
HEAD = config_space.SCRATCH_SIZE + BAR
GET, SET, PROBE = uapi.FEATURE_GET, uapi.FEATURE_SET, uapi.FEATURE_PROBE
DMA_LOGGING = (Feature.DMA_LOGGING_START, Feature.DMA_LOGGING_STOP, Feature.DMA_LOGGING_REPORT)
MIGRATION = (Feature.MIGRATION, Feature.MIG_DEVICE_STATE, Feature.MIG_DATA_SIZE)
CONFIG_AT = Region.CONFIG << uapi.REGION_SHIFT


class Qemu:
    """One QEMU with one device: puts the argument into its memory, calls, looks at it again."""

    def __init__(self, spec, target, regions, iommu=None, refused=None, data_fds=None):
        self.target = target
        self.regions = regions
        self.observed: list[Body] = []
        self.device = PciFunction(
            spec,
            regions,
            iommu or Iommu(),
            self.observed.append,
            refused or {},
            None,
            wrong_data_fds=data_fds or {},
        )

    def call(self, number, argument, *, on_data_fd=False):
        """The answer, and the argument as it is afterwards."""
        self.target.put(ARGUMENT_AT, argument)
        ioctl = self.device.data_fd_ioctl if on_data_fd else self.device.ioctl
        answer = ioctl(number, ARGUMENT_AT, self.target)
        for address, data in answer.writes:
            self.target.write(address, data)
        return answer, self.target.read(ARGUMENT_AT, len(argument))

    def feature(self, feature, operation, data=b"", argsz=None):
        """The answer, and the data as it is afterwards."""
        header = uapi.FEATURE_HEADER.pack(8 + len(data) if argsz is None else argsz, 0)
        header = header[:4] + (feature | operation).to_bytes(4, "little")
        answer, argument = self.call(Vfio.DEVICE_FEATURE, header + data)
        assert argument[:8] == header, "the header is QEMU's"
        return answer, argument[8:]

    def get(self, feature, size):
        answer, data = self.feature(feature, GET, bytes(size))
        assert answer.errno == 0
        return data

    def set_state(self, state):
        """The answer, and the data_fd that QEMU finds if none is installed."""
        answer, data = self.feature(
            Feature.MIG_DEVICE_STATE, SET, uapi.MIG_STATE.pack(state, 0x7777)
        )
        return answer, uapi.MIG_STATE.unpack(data)[1]

    def go(self, *states):
        """Walk through ``states``, none of which may be refused; the last answer."""
        answer = None
        for state in states:
            answer, _ = self.set_state(state)
            assert answer.errno == 0, f"{state.name} was refused"
            assert self.state is state
        return answer

    @property
    def state(self):
        return S(uapi.MIG_STATE.unpack(self.get(Feature.MIG_DEVICE_STATE, 8))[0])

    @property
    def saving(self) -> Saving:
        assert self.device.saving is not None
        return self.device.saving

    @property
    def loading(self) -> Loading:
        assert self.device.loading is not None
        return self.device.loading

    def region(self, index):
        info = self.call(Vfio.DEVICE_GET_REGION_INFO, uapi.REGION_INFO.pack(32, 0, index, 0, 0, 0))
        return info[0].errno, uapi.REGION_INFO.unpack(info[1])

    def irq(self, index):
        info = self.call(Vfio.DEVICE_GET_IRQ_INFO, uapi.IRQ_INFO.pack(16, 0, index, 0))
        return info[0].errno, uapi.IRQ_INFO.unpack(info[1])

    def contents(self):
        """Scratch registers and BAR, as a guest finds them."""
        scratch = self.regions.read(CONFIG_AT + config_space.SCRATCH, config_space.SCRATCH_SIZE)
        return scratch + self.regions.read(0, self.device.spec.bar_size)

    def read_all(self, asked=1 << 20):
        """What ``read`` on the data_fd gives up to the end."""
        saving = self.saving
        found = b""
        while count := saving.read(asked).count:
            found += saving.state.chunk(len(found), count)
            saving.commit(count)
        return found

    def write_all(self, data, piece=1 << 20):
        loading = self.loading
        at = 0
        while at < len(data):
            count = loading.write(min(piece, len(data) - at)).count
            loading.commit(data[at : at + count])
            at += count


def spec_of(**settings):
    return EmulatedDevice(**{"id": "vfio0", "size": 10_000, "bar_size": BAR, **settings})


@pytest.fixture
def new_qemu(target, new_regions):
    """Makes a QEMU whose device has these settings."""
    return lambda **settings: Qemu(spec_of(**settings), target, new_regions())


@pytest.fixture
def qemu(new_qemu):
    return new_qemu()


# -- what QEMU asks when it realizes the device ----------------------------------------


def test_info_is_of_a_pci_device_that_can_be_reset(qemu):
    answer, info = qemu.call(Vfio.DEVICE_GET_INFO, uapi.DEVICE_INFO.pack(24, 0, 0, 0, 9))
    assert answer.errno == 0
    assert uapi.DEVICE_INFO.unpack(info) == (24, 3, 9, 5, 0)


def test_info_for_an_older_header_stays_within_its_size(qemu):
    argument = struct.pack("<4I", 16, 0, 0, 0) + b"\xee" * 8
    answer, info = qemu.call(Vfio.DEVICE_GET_INFO, argument)
    assert answer.errno == 0
    assert struct.unpack_from("<4I", info) == (24, 3, 9, 5)
    assert info[16:] == b"\xee" * 8


@pytest.mark.parametrize("argsz", [0, 4, 15])
def test_info_needs_room_for_its_numbers(qemu, argsz):
    argument = uapi.DEVICE_INFO.pack(argsz, 0, 0, 0, 0)
    answer, info = qemu.call(Vfio.DEVICE_GET_INFO, argument)
    assert (answer.errno, info) == (errno.EINVAL, argument)


@pytest.mark.parametrize("bar_size", [4096, 1 << 20])
def test_regions_are_bar_0_and_config_space(new_qemu, bar_size):
    qemu = new_qemu(bar_size=bar_size)
    found = {index: qemu.region(index) for index in range(10)}
    assert found[Region.BAR0] == (0, (32, 7, 0, 0, bar_size, 0))
    assert found[Region.CONFIG] == (0, (32, 3, 7, 0, 256, 7 << 40))
    for index in (1, 2, 3, 4, 5, Region.ROM):
        assert found[index] == (0, (32, 0, index, 0, 0, index << 40)), "there, and empty"
    assert found[Region.VGA][0] == found[9][0] == errno.EINVAL


def test_region_info_needs_its_size(qemu):
    argument = uapi.REGION_INFO.pack(31, 0, 0, 0, 0, 0)
    answer, _ = qemu.call(Vfio.DEVICE_GET_REGION_INFO, argument)
    assert answer.errno == errno.EINVAL


def test_only_the_request_interrupt_is_there(qemu):
    found = {index: qemu.irq(index) for index in range(6)}
    for index in (Irq.INTX, Irq.MSI, Irq.MSIX):
        assert found[index][0] == 0
        assert found[index][1][3] == 0, "no vectors"
    assert found[Irq.REQ] == (0, (16, 9, Irq.REQ, 1))
    assert found[Irq.ERR][0] == errno.EINVAL, "PCI Express functions only"
    assert found[5][0] == errno.EINVAL


def test_irq_info_needs_its_size(qemu):
    answer, _ = qemu.call(Vfio.DEVICE_GET_IRQ_INFO, uapi.IRQ_INFO.pack(15, 0, 0, 0))
    assert answer.errno == errno.EINVAL


def test_bind_gives_an_id_of_the_iommufd(target, new_regions):
    iommu = Iommu()
    one, other = (Qemu(spec_of(), target, new_regions(), iommu) for _ in range(2))
    ids = set()
    for qemu in (one, other):
        answer, bound = qemu.call(Vfio.DEVICE_BIND_IOMMUFD, uapi.BIND_IOMMUFD.pack(16, 0, 9, 0))
        assert answer.errno == 0
        *same, device_id = uapi.BIND_IOMMUFD.unpack(bound)
        assert same == [16, 0, 9]
        ids.add(device_id)
    assert len(ids - {0}) == 2


@pytest.mark.parametrize(
    "number",
    [Vfio.DEVICE_SET_IRQS, Vfio.DEVICE_ATTACH_IOMMUFD_PT, Vfio.DEVICE_DETACH_IOMMUFD_PT],
)
def test_what_has_no_effect_succeeds(qemu, number):
    answer, argument = qemu.call(number, b"\x11" * 32)
    assert (answer.errno, argument) == (0, b"\x11" * 32)


def test_there_is_no_bus_to_reset(qemu):
    answer, _ = qemu.call(Vfio.DEVICE_GET_PCI_HOT_RESET_INFO, bytes(12))
    assert answer.errno == errno.ENODEV


@pytest.mark.parametrize("number", [0, 100, Vfio.DEVICE_PCI_HOT_RESET, 114, 116, 122, 255])
def test_unknown_ioctl_is_enotty(qemu, number):
    assert qemu.device.ioctl(number, ARGUMENT_AT, qemu.target) is UNKNOWN


@pytest.mark.parametrize(
    "number",
    [
        Vfio.DEVICE_GET_INFO,
        Vfio.DEVICE_GET_REGION_INFO,
        Vfio.DEVICE_GET_IRQ_INFO,
        Vfio.DEVICE_FEATURE,
        Vfio.DEVICE_BIND_IOMMUFD,
    ],
)
def test_bad_address_is_left_to_the_caller(qemu, number):
    with pytest.raises(OSError) as failure:
        qemu.device.ioctl(number, 0x10, qemu.target)
    assert failure.value.errno == errno.EFAULT


# -- contents -------------------------------------------------------------------------


def test_config_space_is_in_its_region_before_anybody_asks(qemu):
    assert qemu.regions.read(CONFIG_AT, 256) == config_space.build(qemu.device.spec)


def test_power_on_leaves_nothing_of_before(qemu):
    qemu.device.fill_contents()
    qemu.device.power_on()
    assert qemu.contents() == bytes(HEAD)


def test_filled_contents_are_of_the_seed(new_qemu):
    contents: dict[int, set[bytes]] = {}
    for seed in (1, 1, 2):
        qemu = new_qemu(seed=seed)
        qemu.device.fill_contents()
        contents.setdefault(seed, set()).add(qemu.contents())
    assert [len(same) for same in contents.values()] == [1, 1]
    (one,), (other,) = contents.values()
    assert len(one) == len(other) == HEAD
    assert not any(a == b for a, b in zip(batched(one), batched(other), strict=True))
    assert len(set(batched(one))) == len(batched(one)), "no block is that of another place"
    assert qemu.regions.read(BAR, 16) == bytes(16), "nothing lies behind the BAR"


def batched(data, size=16):
    return [data[at : at + size] for at in range(0, len(data), size)]


def test_config_record_has_what_qemu_wrote(qemu):
    qemu.regions.write(CONFIG_AT + config_space.COMMAND, b"\x06\x01")
    qemu.regions.write(CONFIG_AT + config_space.SCRATCH, bytes(range(60)))
    assert qemu.device.config() == Config(command=0x0106, scratch=bytes(range(60)).hex())


# -- features -------------------------------------------------------------------------

OPERATIONS = {
    Feature.MIGRATION: {GET},
    Feature.MIG_DEVICE_STATE: {GET, SET},
    Feature.MIG_DATA_SIZE: {GET},
    Feature.DMA_LOGGING_START: {SET},
    Feature.DMA_LOGGING_STOP: {SET},
    Feature.DMA_LOGGING_REPORT: {GET},
}
DATA_SIZES = {
    Feature.MIGRATION: 8,
    Feature.MIG_DEVICE_STATE: 8,
    Feature.MIG_DATA_SIZE: 8,
    Feature.DMA_LOGGING_START: 24,
    Feature.DMA_LOGGING_STOP: 0,
    Feature.DMA_LOGGING_REPORT: 32,
}


RANGES_AT = 0xA000


def right_data(qemu, feature) -> bytes:
    """What QEMU gives with ``feature``, so that it is accepted."""
    if feature is Feature.DMA_LOGGING_START:
        qemu.target.put(RANGES_AT, uapi.DMA_LOGGING_RANGE.pack(0, 1 << 32))
        return uapi.DMA_LOGGING_CONTROL.pack(4096, 1, 0, RANGES_AT)
    if feature is Feature.DMA_LOGGING_REPORT:
        return uapi.DMA_LOGGING_REPORT.pack(0, 1 << 20, 4096, 0x9000)
    is_state = feature is Feature.MIG_DEVICE_STATE
    return uapi.MIG_STATE.pack(S.STOP, -1) if is_state else bytes(DATA_SIZES[feature])


@pytest.mark.parametrize(
    ("feature", "operation"), [(f, o) for f, ops in OPERATIONS.items() for o in ops]
)
def test_probe_finds_what_there_is_and_changes_nothing(qemu, feature, operation):
    answer, _ = qemu.feature(feature, operation | PROBE)
    assert (answer.errno, answer.writes, answer.install) == (0, (), None)
    assert qemu.state is S.RUNNING
    assert qemu.observed == []


@pytest.mark.parametrize("feature", [f for f, ops in OPERATIONS.items() if len(ops) == 1])
@pytest.mark.parametrize("probe", [0, PROBE])
def test_operation_that_a_feature_has_not_is_refused(qemu, feature, probe):
    (right,) = OPERATIONS[feature]
    wrong = SET if right == GET else GET
    assert qemu.feature(feature, wrong | probe, bytes(64))[0].errno == errno.EINVAL
    assert qemu.feature(feature, GET | SET | probe, bytes(64))[0].errno == errno.EINVAL


def test_device_state_can_be_probed_for_both_but_not_asked_both(qemu):
    assert qemu.feature(Feature.MIG_DEVICE_STATE, GET | SET | PROBE)[0].errno == 0
    data = uapi.MIG_STATE.pack(S.STOP, -1)
    assert qemu.feature(Feature.MIG_DEVICE_STATE, GET | SET, data)[0].errno == errno.EINVAL
    assert qemu.state is S.RUNNING


@pytest.mark.parametrize("feature", OPERATIONS)
def test_neither_get_nor_set_nor_probe_is_refused(qemu, feature):
    assert qemu.feature(feature, 0, bytes(64))[0].errno == errno.EINVAL


@pytest.mark.parametrize("feature", OPERATIONS)
def test_data_needs_its_room(qemu, feature):
    size = DATA_SIZES[feature]
    (operation, *_) = OPERATIONS[feature]
    answer, data = qemu.feature(feature, operation, b"\xee" * 64, argsz=8 + size - 1)
    assert (answer.errno, data) == (errno.EINVAL, b"\xee" * 64)
    if feature is Feature.DMA_LOGGING_STOP or feature is Feature.DMA_LOGGING_REPORT:
        qemu.feature(Feature.DMA_LOGGING_START, SET, right_data(qemu, Feature.DMA_LOGGING_START))
    data = right_data(qemu, feature).ljust(64, b"\0")
    assert qemu.feature(feature, operation, data, argsz=8 + size)[0].errno == 0


@pytest.mark.parametrize("argsz", [0, 7])
def test_feature_needs_its_header(qemu, argsz):
    answer, _ = qemu.feature(Feature.MIGRATION, GET | PROBE, bytes(8), argsz=argsz)
    assert answer.errno == errno.EINVAL


def test_flag_that_the_header_does_not_have_is_refused(qemu):
    assert qemu.feature(Feature.MIGRATION, GET | 1 << 19, bytes(8))[0].errno == errno.EINVAL


@pytest.mark.parametrize("feature", [3, 4, 5, 10, 12, 0xFFFF])
def test_feature_that_it_does_not_have_is_enotty(qemu, feature):
    assert qemu.feature(feature, GET | PROBE)[0] is UNKNOWN


def test_precopy_info_v2_is_that_of_an_older_kernel_if_nothing_is_set(new_qemu):
    qemu = new_qemu(pre_copy=True)
    assert qemu.feature(Feature.MIG_PRECOPY_INFOV2, SET)[0].errno == errno.ENOTTY
    assert qemu.observed == [PrecopyInfoV2(errno.ENOTTY)]
    assert qemu.feature(Feature.MIG_PRECOPY_INFOV2, SET | PROBE)[0] is UNKNOWN


@pytest.mark.parametrize("answer", [0, errno.EIO])
def test_precopy_info_v2_answers_as_set(new_qemu, answer):
    qemu = new_qemu(pre_copy=True, precopy_info_v2=answer)
    assert qemu.feature(Feature.MIG_PRECOPY_INFOV2, SET | PROBE)[0].errno == 0
    assert not qemu.observed
    assert qemu.feature(Feature.MIG_PRECOPY_INFOV2, SET)[0].errno == answer
    assert qemu.observed == [PrecopyInfoV2(answer)]
    assert qemu.feature(Feature.MIG_PRECOPY_INFOV2, GET)[0].errno == errno.EINVAL


def test_device_without_pre_copy_has_no_precopy_info(new_qemu):
    qemu = new_qemu(precopy_info_v2=0)
    assert qemu.feature(Feature.MIG_PRECOPY_INFOV2, SET)[0].errno == errno.EINVAL


@pytest.mark.parametrize("feature", MIGRATION)
def test_device_that_cannot_stop_and_copy_has_no_migration(new_qemu, feature):
    qemu = new_qemu(stop_copy=False)
    (operation, *_) = OPERATIONS[feature]
    assert qemu.feature(feature, operation, bytes(8))[0] is UNKNOWN
    assert qemu.feature(Feature.DMA_LOGGING_START, SET | PROBE)[0].errno == 0


@pytest.mark.parametrize("feature", DMA_LOGGING)
def test_device_without_dma_logging_has_none_of_its_features(new_qemu, feature):
    qemu = new_qemu(dma_logging=False)
    (operation, *_) = OPERATIONS[feature]
    assert qemu.feature(feature, operation | PROBE)[0] is UNKNOWN
    assert qemu.feature(Feature.MIGRATION, GET | PROBE)[0].errno == 0


@pytest.mark.parametrize("p2p", [False, True])
@pytest.mark.parametrize("pre_copy", [False, True])
def test_migration_flags_are_the_settings(new_qemu, p2p, pre_copy):
    flags = new_qemu(p2p=p2p, pre_copy=pre_copy).get(Feature.MIGRATION, 8)
    assert int.from_bytes(flags, "little") == 1 | p2p << 1 | pre_copy << 2


def data_size(qemu):
    return int.from_bytes(qemu.get(Feature.MIG_DATA_SIZE, 8), "little")


def test_data_size_is_what_is_left_of_the_state(new_qemu):
    qemu = new_qemu(size=1000, pre_copy=True, precopy_initial_bytes=30, precopy_dirty_bytes=4)
    assert data_size(qemu) == 1034
    qemu.go(S.PRE_COPY)
    qemu.saving.commit(34)
    assert data_size(qemu) == 1000
    qemu.go(S.STOP_COPY)
    qemu.saving.commit(400)
    assert data_size(qemu) == 600
    qemu.go(S.STOP)
    assert data_size(qemu) == 1034, "that of the next transfer"


@pytest.mark.parametrize("size", [0, 1, 1 << 40])
def test_reported_size_is_reported_instead_of_the_true_one(new_qemu, size):
    qemu = new_qemu(reported_size=size)
    assert data_size(qemu) == size
    qemu.go(S.STOP_COPY)
    qemu.saving.commit(1)
    assert data_size(qemu) == size


def test_size_is_misreported_at_the_calls_of_the_plan(new_qemu):
    plans = (
        Misreport(query=Query.DATA_SIZE, first=2, calls=1, errno=errno.EIO),
        Misreport(query=Query.DATA_SIZE, first=2, calls=2, stop_copy_length=UINT64_MAX),
    )
    qemu = new_qemu(size=1000, misreports=plans)
    assert data_size(qemu) == 1000
    assert qemu.feature(Feature.MIG_DATA_SIZE, GET, bytes(8))[0].errno == errno.EIO
    assert (data_size(qemu), data_size(qemu)) == (UINT64_MAX, 1000)
    answers = [each for each in qemu.observed if isinstance(each, SizeAnswer)]
    assert [(each.number, each.errno, each.sizes, each.planned) for each in answers] == [
        (1, 0, [1000], False),
        (2, errno.EIO, [], True),
        (3, 0, [UINT64_MAX], True),
        (4, 0, [1000], False),
    ]


def test_device_that_reports_the_truth_records_no_answer(qemu):
    data_size(qemu)
    assert not [each for each in qemu.observed if isinstance(each, SizeAnswer)]


# -- arcs -----------------------------------------------------------------------------


def test_device_begins_in_running(qemu):
    answer, data = qemu.feature(Feature.MIG_DEVICE_STATE, GET, bytes(8))
    assert answer.errno == 0
    assert uapi.MIG_STATE.unpack(data) == (S.RUNNING, -1)


@pytest.mark.parametrize(
    ("before", "wanted", "is_saving"),
    [
        ((), S.STOP_COPY, True),
        ((), S.RESUMING, False),
        ((), S.PRE_COPY, True),
        ((), S.PRE_COPY_P2P, True),
        ((S.RUNNING_P2P,), S.PRE_COPY_P2P, True),
        ((S.STOP,), S.STOP_COPY, True),
        ((S.STOP,), S.PRE_COPY, True),
        ((S.STOP_COPY,), S.RESUMING, False),
        ((S.RESUMING,), S.STOP_COPY, True),
        ((S.RESUMING,), S.PRE_COPY_P2P, True),
    ],
)
def test_arc_into_a_transfer_opens_a_data_fd(new_qemu, before, wanted, is_saving):
    qemu = new_qemu(pre_copy=True)
    qemu.go(*before)
    answer = qemu.go(wanted)
    assert answer.install == InstallDataFd(is_saving, DATA_AT + 4)


@pytest.mark.parametrize(
    "states",
    [
        (S.PRE_COPY, S.STOP_COPY),
        (S.PRE_COPY_P2P, S.STOP_COPY),
        (S.PRE_COPY, S.PRE_COPY_P2P),
        (S.PRE_COPY_P2P, S.PRE_COPY),
    ],
)
def test_arc_within_the_saving_group_keeps_the_data_fd(new_qemu, states):
    """A new one makes QEMU fail with "data_fd out of sync"."""
    qemu = new_qemu(pre_copy=True)
    qemu.go(states[0])
    saving = qemu.saving
    answer, data_fd = qemu.set_state(states[1])
    assert (answer.errno, answer.install, data_fd) == (0, None, -1)
    assert not answer.drops_data_fd
    assert qemu.saving is saving


def test_device_that_still_runs_gives_its_pre_copy_part_only(new_qemu):
    qemu = new_qemu(pre_copy=True, size=50, precopy_initial_bytes=20)
    for state in (S.PRE_COPY, S.PRE_COPY_P2P):
        qemu.go(state)
        assert len(qemu.read_all()) == (20 if state is S.PRE_COPY else 0)
        assert qemu.saving.read(1).errno == errno.ENOMSG


def test_state_that_was_held_out_is_that_of_the_stop(qemu):
    qemu.go(S.STOP_COPY)
    sent = qemu.saving.state.chunk(0, 10_000)
    qemu.go(S.STOP, S.RUNNING)
    qemu.regions.write(0, b"the guest runs on")
    qemu.go(S.STOP)
    assert qemu.saving.state.chunk(0, 10_000) == sent


@pytest.mark.parametrize("p2p", [False, True])
def test_stop_copy_after_pre_copy_goes_on_where_it_was(new_qemu, p2p):
    qemu = new_qemu(pre_copy=True, p2p=p2p, size=50, precopy_initial_bytes=20)
    qemu.go(S.PRE_COPY)
    qemu.saving.commit(20)
    answer = qemu.go(S.STOP_COPY)
    assert answer.install is None
    assert qemu.saving.read(100).offset == 20


@pytest.mark.parametrize("state", [S.STOP_COPY, S.RESUMING, S.PRE_COPY, S.PRE_COPY_P2P])
@pytest.mark.parametrize("after", [S.STOP, S.RUNNING, S.RUNNING_P2P])
def test_arc_out_of_a_transfer_drops_the_data_fd(new_qemu, state, after):
    qemu = new_qemu(pre_copy=True)
    qemu.go(state)
    answer, data_fd = qemu.set_state(after)
    assert (answer.errno, answer.install, data_fd) == (0, None, -1)
    assert answer.drops_data_fd


def test_present_state_again_changes_nothing(qemu):
    qemu.go(S.STOP_COPY)
    saving = qemu.saving
    answer, data_fd = qemu.set_state(S.STOP_COPY)
    assert (answer.errno, answer.install, answer.drops_data_fd, data_fd) == (0, None, False, -1)
    assert qemu.saving is saving
    assert qemu.observed[-1] == Arc(state="STOP_COPY", path=[], errno=0)


@pytest.mark.parametrize(
    ("settings", "before", "wanted", "named"),
    [
        ({"p2p": False}, (), S.RUNNING_P2P, "RUNNING_P2P"),
        ({}, (), S.PRE_COPY, "PRE_COPY"),
        ({"pre_copy": True, "p2p": False}, (), S.PRE_COPY_P2P, "PRE_COPY_P2P"),
        ({"pre_copy": True}, (S.STOP_COPY,), S.PRE_COPY, "PRE_COPY"),
        ({}, (S.STOP,), S.ERROR, "ERROR"),
        ({}, (), 8, "8"),
        ({}, (), 0xFFFF_FFFF, "4294967295"),
    ],
)
def test_state_that_cannot_be_is_refused_and_recorded(new_qemu, settings, before, wanted, named):
    qemu = new_qemu(**settings)
    qemu.go(*before)
    state = qemu.state
    answer, _ = qemu.set_state(wanted)
    assert (answer.errno, answer.install, answer.writes) == (errno.EINVAL, None, ())
    assert not answer.drops_data_fd
    assert qemu.state is state
    assert qemu.observed[-1] == Arc(state=named, path=[], errno=errno.EINVAL)


def test_walked_path_is_recorded(qemu):
    qemu.go(S.STOP_COPY)
    path = ["RUNNING_P2P", "STOP", "STOP_COPY"]
    assert qemu.observed == [Arc(state="STOP_COPY", path=path, errno=0)]


def test_every_transfer_starts_from_its_beginning(qemu):
    qemu.go(S.STOP_COPY)
    qemu.saving.commit(100)
    qemu.go(S.STOP, S.STOP_COPY)
    assert qemu.saving.position == 0
    qemu.go(S.RESUMING)
    qemu.loading.commit(b"x" * 100)
    qemu.go(S.STOP, S.RESUMING)
    assert qemu.loading.position == 0


@pytest.mark.parametrize("state", [S.STOP_COPY, S.RESUMING, S.STOP, S.RUNNING])
def test_reset_goes_back_to_running(qemu, state):
    qemu.go(state)
    answer = qemu.device.ioctl(Vfio.DEVICE_RESET, 0, qemu.target)
    assert (answer.errno, answer.drops_data_fd) == (0, True)
    assert qemu.state is S.RUNNING
    assert qemu.observed[-1] == Reset()


# -- pre-copy -------------------------------------------------------------------------


def precopy_info(qemu, argsz=24, number=Vfio.MIG_GET_PRECOPY_INFO):
    argument = uapi.PRECOPY_INFO.pack(argsz, 0, 7, 7)
    answer, info = qemu.call(number, argument, on_data_fd=True)
    return answer.errno, uapi.PRECOPY_INFO.unpack(info)


@pytest.fixture
def precopying(new_qemu):
    return new_qemu(pre_copy=True, precopy_initial_bytes=30, precopy_dirty_bytes=4)


@pytest.mark.parametrize("state", [S.PRE_COPY, S.PRE_COPY_P2P])
def test_precopy_info_is_what_is_left(precopying, state):
    precopying.go(state)
    assert precopy_info(precopying) == (0, (24, 0, 30, 4))
    precopying.saving.commit(31)
    assert precopy_info(precopying) == (0, (24, 0, 0, 3))


def test_precopy_info_is_misreported_at_the_calls_of_the_plan(new_qemu):
    plans = (
        Misreport(query=Query.PRECOPY_INFO, calls=1, errno=errno.EIO),
        Misreport(query=Query.PRECOPY_INFO, first=2, calls=1, initial_bytes=1 << 63),
        Misreport(query=Query.PRECOPY_INFO, first=3, calls=1, initial_bytes=0, dirty_bytes=9),
    )
    qemu = new_qemu(
        pre_copy=True, precopy_initial_bytes=30, precopy_dirty_bytes=4, size=5, misreports=plans
    )
    qemu.go(S.PRE_COPY)
    assert precopy_info(qemu) == (errno.EIO, (24, 0, 7, 7))
    assert precopy_info(qemu) == (0, (24, 0, 1 << 63, 4))
    qemu.saving.commit(31)
    assert precopy_info(qemu) == (0, (24, 0, 0, 9))
    assert precopy_info(qemu) == (0, (24, 0, 0, 3))
    answers = [each for each in qemu.observed if isinstance(each, SizeAnswer)]
    assert [(each.sizes, each.left, each.planned) for each in answers] == [
        ([], 39, True),
        ([1 << 63, 4], 39, True),
        ([0, 9], 8, True),
        ([0, 3], 8, False),
    ]


@pytest.mark.parametrize("asks", [False, True])
def test_new_initial_bytes_are_flagged_once_if_qemu_has_asked_for_it(new_qemu, asks):
    change = PrecopyChange(at=5, initial_bytes=7)
    qemu = new_qemu(
        pre_copy=True,
        precopy_initial_bytes=30,
        precopy_dirty_bytes=4,
        precopy_info_v2=0,
        precopy_changes=(change,),
    )
    if asks:
        assert qemu.feature(Feature.MIG_PRECOPY_INFOV2, SET)[0].errno == 0
    qemu.go(S.PRE_COPY)
    assert precopy_info(qemu) == (0, (24, 0, 30, 4))
    qemu.saving.commit(5)
    first = (24, uapi.PRECOPY_INFO_REINIT, 7, 0) if asks else (24, 0, 25, 11)
    assert precopy_info(qemu) == (0, first)
    assert precopy_info(qemu) == (0, (24, 0, *first[2:]))
    assert [each for each in qemu.observed if isinstance(each, Reinit)] == [Reinit(5, 7)] * asks


def test_change_at_the_switchover_comes_with_pre_copy_p2p(new_qemu):
    change = PrecopyChange(at_switchover=True, dirty_bytes=7)
    qemu = new_qemu(pre_copy=True, precopy_initial_bytes=30, precopy_changes=(change,))
    qemu.go(S.PRE_COPY)
    assert precopy_info(qemu) == (0, (24, 0, 30, 0))
    qemu.go(S.PRE_COPY_P2P)
    assert precopy_info(qemu) == (0, (24, 0, 30, 7))


def test_precopy_info_is_refused_in_any_other_state(precopying):
    precopying.go(S.PRE_COPY, S.STOP_COPY)
    assert precopy_info(precopying) == (errno.EINVAL, (24, 0, 7, 7))


def test_precopy_info_needs_its_size(precopying):
    precopying.go(S.PRE_COPY)
    assert precopy_info(precopying, argsz=23) == (errno.EINVAL, (23, 0, 7, 7))


def test_data_fd_knows_no_other_ioctl(precopying):
    precopying.go(S.PRE_COPY)
    assert precopy_info(precopying, number=Vfio.DEVICE_GET_INFO)[0] == errno.ENOTTY


def test_data_fd_that_takes_state_in_has_no_precopy_info(precopying):
    precopying.go(S.RESUMING)
    assert precopy_info(precopying)[0] == errno.ENOTTY


# -- a complete migration ----------------------------------------------------------------


@pytest.fixture
def pair(target, new_regions):
    """Makes source and destination of a device with these settings."""

    def make(**settings):
        src, dst = (Qemu(spec_of(**settings), target, new_regions()) for _ in range(2))
        dst.device.expected = lambda: src.device.saving.state if src.device.saving else None
        src.device.fill_contents()
        return src, dst

    return make


def migrate(src, dst, *, piece=1 << 20):
    if src.device.spec.pre_copy:
        src.go(S.PRE_COPY)
        sent = src.read_all()
        src.go(S.PRE_COPY_P2P)
        more = src.saving
        src.go(S.STOP_COPY)
        while count := more.read(1 << 20).count:
            sent += more.state.chunk(len(sent), count)
            more.commit(count)
    else:
        src.go(S.RUNNING_P2P, S.STOP, S.STOP_COPY)
        sent = src.read_all()
    dst.go(S.STOP, S.RESUMING)
    dst.write_all(sent, piece)
    src.go(S.STOP)
    dst.go(S.STOP, S.RUNNING_P2P, S.RUNNING)
    return sent


SIZES = [0, 1, 59, 60, 61, HEAD - 1, HEAD, HEAD + 1, 300_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("piece", [1 << 20, 13])
def test_migrated_device_has_its_registers_and_its_bar(pair, size, piece):
    if piece == 13 and size > HEAD + 1:
        size = HEAD + 500
    src, dst = pair(size=size)
    before = src.contents()
    sent = migrate(src, dst, piece=piece)
    assert len(sent) == size
    assert dst.contents() == before[:size] + bytes(max(0, HEAD - size))
    assert src.contents() == before
    report = dst.loading.report()
    assert (report.bytes, report.first_difference) == (size, -1)
    assert report.digest == src.saving.report().digest


@pytest.mark.parametrize("size", [0, 1, HEAD, HEAD + 7])
def test_precopied_device_has_its_registers_and_its_bar(pair, size):
    src, dst = pair(size=size, pre_copy=True, precopy_initial_bytes=40, precopy_dirty_bytes=2)
    before = src.contents()
    sent = migrate(src, dst)
    assert len(sent) == size + 42
    assert sent[42:][:HEAD] == before[:size]
    assert dst.contents() == before[:size] + bytes(max(0, HEAD - size))
    assert dst.loading.report().first_difference == -1


def test_contents_are_those_of_the_stop_not_of_the_pre_copy(pair):
    src, dst = pair(pre_copy=True, precopy_initial_bytes=40)
    src.go(S.PRE_COPY)
    src.regions.write(100, b"written by the guest while its device was copied")
    late = src.contents()
    assert migrate_from_precopy(src, dst) == late
    assert dst.loading.report().first_difference == -1


def migrate_from_precopy(src, dst):
    src.go(S.STOP_COPY)
    dst.go(S.RESUMING)
    dst.write_all(src.read_all())
    dst.go(S.STOP)
    return dst.contents()


def test_every_settings_combination_arrives(pair):
    """Short reads, short writes and both: the device's own sizes do not matter."""
    for read_sizes, write_sizes in itertools.product([(), (1000, 7), (1,)], [(), (999, 1)]):
        src, dst = pair(
            size=HEAD + 50,
            save=SaveBehaviour(read_sizes=read_sizes),
            load=LoadBehaviour(write_sizes=write_sizes),
        )
        migrate(src, dst)
        assert dst.contents() == src.contents()
        assert dst.loading.report().first_difference == -1


def test_damage_is_seen_where_it_is(pair):
    src, dst = pair()
    src.go(S.STOP_COPY)
    data = bytearray(src.read_all())
    data[5000] ^= 0xFF
    dst.go(S.RESUMING)
    dst.write_all(bytes(data))
    dst.go(S.STOP)
    assert dst.loading.report().first_difference == 5000


def test_state_cut_short_leaves_the_rest_of_the_contents_alone(pair):
    src, dst = pair()
    dst.regions.write(0, b"\x55" * BAR)
    src.go(S.STOP_COPY)
    dst.go(S.RESUMING)
    dst.write_all(src.read_all()[:160])
    dst.go(S.STOP)
    assert dst.contents() == src.contents()[:160] + b"\x55" * (HEAD - 160)


def test_reset_instead_of_the_end_loads_nothing(pair):
    src, dst = pair()
    src.go(S.STOP_COPY)
    dst.go(S.RESUMING)
    dst.write_all(src.read_all())
    dst.device.ioctl(Vfio.DEVICE_RESET, 0, dst.target)
    dst.go(S.STOP)
    assert dst.contents() == bytes(HEAD)


def test_expected_state_may_be_set_late(qemu):
    qemu.go(S.RESUMING)
    other = StateBytes(99, 10_000)
    qemu.device.expected = lambda: other
    qemu.loading.commit(bytes(10))
    assert qemu.loading.report().expected_bytes == 10_000


def test_devices_with_other_seeds_hold_other_states(new_qemu):
    states = set()
    for seed in (1, 2):
        qemu = new_qemu(seed=seed)
        qemu.go(S.STOP_COPY)
        states.add(qemu.saving.report().digest)
    assert len(states) == 2


# -- DMA logging ----------------------------------------------------------------------


def logging(qemu, feature):
    (operation,) = OPERATIONS[feature]
    return qemu.feature(feature, operation, right_data(qemu, feature))[0].errno


def test_dma_logging_is_started_reported_and_stopped(qemu):
    start, stop, report = DMA_LOGGING
    assert logging(qemu, report) == errno.EINVAL, "not started"
    assert logging(qemu, stop) == errno.EINVAL
    assert logging(qemu, start) == 0
    assert logging(qemu, start) == errno.EINVAL, "started already"
    assert logging(qemu, report) == 0
    assert logging(qemu, report) == 0
    assert logging(qemu, stop) == 0
    assert logging(qemu, report) == errno.EINVAL
    assert logging(qemu, start) == 0, "once more"


def test_device_that_makes_no_dma_sets_no_bit(qemu):
    logging(qemu, Feature.DMA_LOGGING_START)
    argument = uapi.DMA_LOGGING_REPORT.pack(0, 1 << 20, 4096, 0x9000)
    answer, data = qemu.feature(Feature.DMA_LOGGING_REPORT, GET, argument)
    assert (answer.errno, answer.writes, data) == (0, (), argument)


def test_settings_are_not_changed_by_any_of_it(pair):
    src, dst = pair()
    before = msgspec.json.encode(src.device.spec)
    migrate(src, dst)
    assert msgspec.json.encode(src.device.spec) == before


@pytest.mark.parametrize("size", [0, 100])
def test_what_became_of_a_lie_is_recorded(pair, size):
    src, dst = pair(size=size, load=LoadBehaviour(lie=Lie.WRONG_BYTE))
    src.go(S.RUNNING_P2P, S.STOP, S.STOP_COPY)
    dst.go(S.STOP, S.RESUMING)
    dst.device.loading.memory = File(src.read_all())
    dst.go(S.STOP)
    assert LieTold(lie="wrong_byte", at=0, changed=size > 0) in dst.observed


def test_device_that_does_not_lie_records_none(pair):
    src, dst = pair(size=100)
    migrate(src, dst)
    assert not [each for each in dst.observed if isinstance(each, LieTold)]


# -- arcs that it refuses --------------------------------------------------------------


def test_refused_arc_leaves_the_device_in_the_state_before(target, new_regions):
    qemu = Qemu(spec_of(), target, new_regions(), refused={"STOP_COPY": errno.EIO})
    answer, _ = qemu.set_state(S.STOP_COPY)
    assert (answer.errno, answer.install) == (errno.EIO, None)
    assert qemu.state is S.STOP, "RUNNING_P2P and STOP are not refused"
    path = ["RUNNING_P2P", "STOP"]
    assert qemu.observed[-1] == Arc(state="STOP_COPY", path=path, errno=errno.EIO)
    qemu.go(S.RUNNING)


def test_refused_arc_keeps_the_data_fd_of_the_state_before(target, new_regions):
    qemu = Qemu(spec_of(pre_copy=True), target, new_regions(), refused={"STOP_COPY": errno.EIO})
    qemu.go(S.PRE_COPY)
    answer, _ = qemu.set_state(S.STOP_COPY)
    assert answer.errno == errno.EIO
    assert not answer.drops_data_fd
    assert qemu.state is S.PRE_COPY_P2P


# -- arcs that give a wrong number of data_fds -----------------------------------------


def test_arc_gives_no_data_fd_and_takes_place(target, new_regions):
    qemu = Qemu(spec_of(), target, new_regions(), data_fds={"STOP_COPY": Given.NONE})
    answer, data_fd = qemu.set_state(S.STOP_COPY)
    assert (answer.errno, answer.install, data_fd) == (0, None, -1)
    assert qemu.state is S.STOP_COPY
    assert qemu.observed[-1] == DataFdError(state="STOP_COPY", gives="none")


def test_arc_gives_a_data_fd_that_no_transfer_has(target, new_regions):
    qemu = Qemu(spec_of(pre_copy=True), target, new_regions(), data_fds={"STOP_COPY": Given.EXTRA})
    assert not qemu.go(S.PRE_COPY).install.is_extra
    answer = qemu.go(S.STOP_COPY)
    assert answer.install.is_extra
    assert not answer.drops_data_fd
    assert qemu.observed[-1] == DataFdError(state="STOP_COPY", gives="extra")


def test_arc_on_the_way_to_another_gives_none(target, new_regions):
    """As in the kernel, which returns the data_fd of the last arc."""
    qemu = Qemu(spec_of(), target, new_regions(), data_fds={"STOP": Given.EXTRA})
    assert not qemu.go(S.STOP_COPY).install.is_extra
    assert qemu.go(S.STOP).install.is_extra


@pytest.mark.parametrize("given", [("STOP_COPY", Given.EXTRA), ("STOP", Given.NONE)])
def test_arc_that_gives_as_many_as_it_should_is_not_recorded(target, new_regions, given):
    qemu = Qemu(spec_of(), target, new_regions(), data_fds=dict([given]))
    assert not qemu.go(S.STOP_COPY).install.is_extra
    assert qemu.go(S.STOP).install is None
    assert not [each for each in qemu.observed if isinstance(each, DataFdError)]
