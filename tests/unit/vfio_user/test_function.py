"""The ioctls of QEMU's vfio-pci, answered with a server: what goes through, and what does not."""

import contextlib
import errno
import os
import struct

import pytest

from harness.history.device import Arc, Reset
from harness.scenario import LoadBehaviour, SaveBehaviour
from harness.scenario.devices import MigrationState, RefusedArc
from harness.supervisor.memory import Memfd
from harness.vfio import config_space, uapi
from harness.vfio.answer import UNKNOWN
from harness.vfio.iommu import Iommu
from harness.vfio.uapi import DeviceState as S
from harness.vfio.uapi import Feature, MigrationFlag, Vfio
from harness.vfio_user import function as module
from harness.vfio_user.function import RemoteFunction
from harness.vfio_user.messages import IRQ_SET

GET, SET, PROBE = uapi.FEATURE_GET, uapi.FEATURE_SET, uapi.FEATURE_PROBE


class Memory:
    """An argument of QEMU's, at address 0."""

    def __init__(self, data):
        self.data = bytearray(data)

    def read(self, address, length):
        found = bytes(self.data[address : address + length])
        if len(found) != length:
            raise OSError(errno.EFAULT, "not mapped")
        return found


class Remote:
    """A function whose device is that of a server."""

    def __init__(self, pair):
        self.pair = pair
        self.seen = []
        self.passed = []
        self.regions = Memfd.for_regions("test")
        self.function = RemoteFunction(
            pair.spec, self.regions, Iommu(), self.seen.append,
            client=pair.client, pass_fds=self._pass_fds,
        )  # fmt: skip

    def _pass_fds(self, numbers):
        self.passed.append(numbers)
        return [os.dup(self.regions.fd) for _ in numbers]

    @property
    def server(self):
        return self.pair.server.target

    def ioctl(self, number, data):
        """The answer, and the argument afterwards."""
        memory = Memory(data)
        answer = self.function.ioctl(number, 0, memory)
        for address, written in answer.writes:
            memory.data[address : address + len(written)] = written
        return answer, bytes(memory.data)

    def feature(self, number, operation=GET, data=bytes(8), size=16):
        header = uapi.FEATURE_HEADER.pack(size, number | operation)
        return self.ioctl(Vfio.DEVICE_FEATURE, header + data)

    def go(self, state):
        answer, data = self.feature(Feature.MIG_DEVICE_STATE, SET, uapi.MIG_STATE.pack(state, 7))
        if not answer.errno:
            assert uapi.MIG_STATE.unpack(data[8:]) == (state, -1)
        return answer


@pytest.fixture
def remote(pair):
    """Makes functions."""
    made = []

    def make(side="source", *faults, **settings):
        made.append(Remote(pair(side, *faults, **settings)))
        return made[-1]

    yield make
    for each in made:
        each.regions.close()


def read_all(saving, asked=3000):
    data = b""
    while (share := saving.read(asked)).count:
        assert not share.errno
        data += saving.data(share)
        saving.commit(share.count)
    return data


def write_all(loading, data):
    while data:
        share = loading.write(len(data))
        assert loading.deliver(share, data[: share.count]) == share
        loading.commit(data[: share.count])
        data = data[share.count :]


def test_information_is_that_of_the_server_at_our_offsets(remote):
    found = remote()
    _, info = found.ioctl(Vfio.DEVICE_GET_INFO, struct.pack("<5I4x", 24, 0, 0, 0, 0))
    assert uapi.DEVICE_INFO.unpack(info)[1:4] == (3, 9, 5)
    for index, size in ((0, 4096), (7, 256), (3, 0)):
        _, info = found.ioctl(
            Vfio.DEVICE_GET_REGION_INFO, uapi.REGION_INFO.pack(32, 0, index, 0, 0, 0)
        )
        assert uapi.REGION_INFO.unpack(info)[4:] == (size, index << 40)
    answer, _ = found.ioctl(Vfio.DEVICE_GET_REGION_INFO, uapi.REGION_INFO.pack(32, 0, 8, 0, 0, 0))
    assert answer.errno == errno.EINVAL
    _, info = found.ioctl(Vfio.DEVICE_GET_IRQ_INFO, uapi.IRQ_INFO.pack(16, 0, 4, 0))
    assert uapi.IRQ_INFO.unpack(info)[3] == 1


def test_registers_are_those_of_the_server_from_the_start(remote):
    found = remote(vendor_id=0xABCD)
    assert found.regions.read(7 << 40, 2) == b"\xcd\xab"


def test_what_qemu_has_written_is_at_the_server_when_the_device_stops(remote):
    found = remote()
    found.function.fill_contents()
    found.regions.write((7 << 40) + config_space.COMMAND, b"\6")
    before = dict(found.server.asked)
    assert found.go(S.STOP_COPY).errno == 0
    assert found.server.asked["REGION_WRITE"] - before.get("REGION_WRITE", 0) == 3
    for at, size in ((0, 4096), (7 << 40, 256)):
        assert found.pair.server.regions.read(at, size) == found.regions.read(at, size)
    assert found.go(S.RUNNING).errno == 0
    assert found.server.asked["REGION_WRITE"] == 3, "nothing has changed since"


@pytest.mark.parametrize("settings", [{}, {"save": SaveBehaviour(read_sizes=(7, 900))}])
def test_state_goes_from_one_server_to_the_other(remote, settings):
    source, destination = remote(**settings), remote("destination", seed=4)
    destination.function.expected = lambda: source.function.saving.state
    source.function.fill_contents()
    assert source.go(S.STOP_COPY).install.is_saving
    assert not destination.go(S.RESUMING).install.is_saving
    data = read_all(source.function.saving)
    assert len(data) == 10_000
    write_all(destination.function.loading, data)
    destination.regions.write((7 << 40) + config_space.COMMAND, b"\6")  # QEMU loads it
    assert destination.go(S.RUNNING).drops_data_fd
    assert destination.function.config().scratch == source.function.config().scratch
    assert destination.function.config().command == 6
    assert destination.regions.read(0, 4096) == source.regions.read(0, 4096)
    received = destination.function.loading.report()
    assert received.first_difference == -1
    assert received.digest == source.function.saving.report().digest
    assert [each.path for each in source.seen] == [["RUNNING_P2P", "STOP", "STOP_COPY"]]


def test_state_that_another_server_has_changed_is_found(remote):
    """What the destination gets is compared with what the source device has, not with what came."""
    source, destination = remote(), remote("destination")
    destination.function.expected = lambda: source.function.saving.state
    source.go(S.STOP_COPY)
    destination.go(S.RESUMING)
    data = bytearray(read_all(source.function.saving))
    data[5000] ^= 1
    write_all(destination.function.loading, bytes(data))
    assert destination.function.loading.report().first_difference == 5000


def test_size_and_states_of_migration_are_the_servers(remote):
    found = remote(reported_size=77)
    _, data = found.feature(Feature.MIGRATION)
    flags = uapi.MIGRATION.unpack(data[8:])[0]
    assert flags == MigrationFlag.STOP_COPY | MigrationFlag.P2P
    _, data = found.feature(Feature.MIG_DATA_SIZE)
    assert uapi.MIG_DATA_SIZE.unpack(data[8:])[0] == 77
    assert found.feature(Feature.MIG_DEVICE_STATE, PROBE | SET)[0].errno == 0
    _, data = found.feature(Feature.MIG_DEVICE_STATE)
    assert uapi.MIG_STATE.unpack(data[8:])[0] == S.RUNNING


def test_features_that_the_protocol_or_the_server_lacks_are_unknown(remote):
    found = remote(stop_copy=False)
    assert found.feature(Feature.DMA_LOGGING_START, PROBE)[0] is UNKNOWN
    assert found.feature(Feature.MIGRATION)[0] is UNKNOWN
    assert found.feature(Feature.MIG_DATA_SIZE)[0] is UNKNOWN
    assert found.feature(11)[0] is UNKNOWN
    assert found.feature(Feature.MIGRATION, size=7)[0].errno == errno.EINVAL
    assert found.feature(Feature.MIGRATION, size=1 << 20)[0].errno == errno.EINVAL


def test_pre_copy_is_not_offered(remote):
    """The protocol has no message for VFIO_MIG_GET_PRECOPY_INFO."""
    found = remote(pre_copy=True)
    _, data = found.feature(Feature.MIGRATION)
    assert not uapi.MIGRATION.unpack(data[8:])[0] & MigrationFlag.PRE_COPY
    assert found.go(S.PRE_COPY).errno == errno.EINVAL


def test_arc_that_the_server_refuses_leaves_the_device_where_the_server_has_it(remote):
    refuses = (RefusedArc(side="source", to=MigrationState.STOP_COPY, errno=errno.ENOMEM),)
    found = remote(refuses=refuses)
    assert found.go(S.STOP_COPY).errno == errno.ENOMEM
    assert found.function.state is S.STOP
    wanted = Arc(state="STOP_COPY", path=["RUNNING_P2P", "STOP"], errno=errno.ENOMEM)
    assert found.seen == [wanted]
    assert found.go(S.RUNNING).errno == 0


@pytest.mark.parametrize("raw", [0, 99])
def test_state_that_is_none_is_refused(remote, raw):
    assert remote().go(raw).errno == errno.EINVAL


def test_errors_of_the_server_are_those_of_the_calls(remote):
    source = remote(save=SaveBehaviour(error_at=5000))
    source.go(S.STOP_COPY)
    saving = source.function.saving
    assert saving.read(5000).count == 5000
    saving.commit(5000)
    assert (saving.read(5000).count, saving.read(5000).errno) == (0, errno.EIO)
    destination = remote("destination", load=LoadBehaviour(error_at=0))
    destination.go(S.RESUMING)
    loading = destination.function.loading
    share = loading.deliver(loading.write(10), bytes(10))
    assert (share.count, share.errno) == (0, errno.EIO)


def test_call_that_qemu_repeats_reaches_the_server_once(remote):
    """Interrupted before the answer, QEMU calls again."""
    found = remote("destination")
    found.go(S.RESUMING)
    loading = found.function.loading
    for _ in range(2):
        loading.deliver(loading.write(10), bytes(10))
    assert found.server.asked["MIG_DATA_WRITE"] == 1
    loading.commit(bytes(10))
    loading.deliver(loading.write(10), bytes(10))
    assert found.server.asked["MIG_DATA_WRITE"] == 2


def test_lost_server_is_an_error_of_each_call(remote):
    found = remote("source", {"command": "MIG_DATA_READ", "does": "die"})
    found.go(S.STOP_COPY)
    assert found.function.saving.read(10).errno == errno.EIO
    assert found.go(S.RUNNING).errno == errno.EIO
    assert found.function.state is S.STOP_COPY
    assert found.feature(Feature.MIG_DATA_SIZE)[0].errno == errno.EIO
    with pytest.raises(OSError, match="ended the connection at MIG_DATA_READ"):
        found.ioctl(Vfio.DEVICE_RESET, b"")


def test_reset_is_the_servers(remote):
    found = remote()
    found.go(S.STOP_COPY)
    answer, _ = found.ioctl(Vfio.DEVICE_RESET, b"")
    assert answer.drops_data_fd
    assert found.server.asked["DEVICE_RESET"] == 1
    assert isinstance(found.seen[-1], Reset)
    assert found.go(S.STOP_COPY).errno == 0


@pytest.mark.parametrize(
    ("numbers", "groups"),
    [
        ((5,), [(0, 1, [5])]),
        ((-1,), [(0, 1, [])]),
        ((5, 6, -1, 7), [(0, 2, [5, 6]), (2, 1, []), (3, 1, [7])]),
        (tuple(range(20, 30)), [(0, 8, list(range(20, 28))), (8, 2, [28, 29])]),
    ],
)
def test_interrupts_are_passed_on_in_runs(remote, monkeypatch, numbers, groups):
    found = remote()
    found.pair.client.negotiate()
    sent = []
    ask = found.pair.client.ask

    def watched(command, payload=b"", fds=()):
        sent.append((IRQ_SET.unpack_from(payload)[3:], len(fds)))
        return ask(command, payload, fds)

    monkeypatch.setattr(found.pair.client, "ask", watched)
    size = IRQ_SET.size + 4 * len(numbers)
    argument = IRQ_SET.pack(size, 0x24, 4, 0, len(numbers))
    answer, _ = found.ioctl(
        Vfio.DEVICE_SET_IRQS, argument + struct.pack(f"<{len(numbers)}i", *numbers)
    )
    assert answer.errno == 0
    assert sent == [((start, count), len(fds)) for start, count, fds in groups]
    assert found.passed == [fds for _, _, fds in groups]


def test_interrupts_that_are_damaged_are_refused(remote):
    found = remote()
    for argument in (
        IRQ_SET.pack(20, 0x24, 4, 0, 5),
        IRQ_SET.pack(19, 0x20, 4, 0, 0),
        IRQ_SET.pack(1 << 20, 0x20, 4, 0, 0),
    ):
        assert found.ioctl(Vfio.DEVICE_SET_IRQS, argument)[0].errno == errno.EINVAL
    assert found.ioctl(Vfio.DEVICE_SET_IRQS, IRQ_SET.pack(20, 0x21, 4, 0, 0))[0].errno == 0


def test_server_that_lacks_a_region_has_none(remote):
    found = remote()
    assert set(found.function._infos) == set(range(8))


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        (b"", b"", []),
        (bytes(8), bytes(8), []),
        (bytes(8), b"\0\1" + bytes(6), [(0, 4)]),
        (bytes(16), b"\1" + bytes(7) + b"\1" * 8, [(0, 4), (8, 16)]),
        (bytes(6), bytes(5) + b"\1", [(4, 6)]),
    ],
)
def test_changes_are_found(before, now, found):
    assert module._changes(before, now) == found


def test_descriptors_are_closed_whatever_the_server_says(remote, open_fds):
    found = remote("source", {"command": "DEVICE_SET_IRQS", "does": "die"})
    before = open_fds()
    argument = IRQ_SET.pack(24, 0x24, 4, 0, 1) + struct.pack("<i", 5)
    with contextlib.suppress(OSError):
        found.ioctl(Vfio.DEVICE_SET_IRQS, argument)
    assert len(open_fds()) <= len(before), "one less: the server is gone"
