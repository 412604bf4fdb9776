"""What a server answers for its device, and that no message harms it."""

import errno
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.history.device import Arc
from harness.scenario import LoadBehaviour, SaveBehaviour
from harness.scenario.devices import MigrationState, RefusedArc, VfioUserDevice
from harness.vfio import config_space, uapi
from harness.vfio.uapi import DeviceState as S
from harness.vfio.uapi import Feature
from harness.vfio_user.messages import (
    Command,
    DmaMap,
    DmaUnmap,
    MigData,
    RegionAccess,
    RegionInfo,
    Version,
)
from harness.vfio_user.target import Reply, Target

SIZE = 10_000


class Regions:
    """Contents of regions, which are sparse."""

    def __init__(self):
        self.data: dict[int, bytearray] = {}

    def _of(self, offset):
        index, at = offset >> uapi.REGION_SHIFT, offset & ((1 << uapi.REGION_SHIFT) - 1)
        return self.data.setdefault(index, bytearray(1 << 16)), at

    def read(self, offset, length):
        memory, at = self._of(offset)
        return bytes(memory[at : at + length])

    def write(self, offset, data):
        memory, at = self._of(offset)
        memory[at : at + len(data)] = data


class Served:
    """A target, and what it was seen to do."""

    def __init__(self, side="source", **settings):
        self.seen = []
        spec = VfioUserDevice(**{"id": "a", "size": SIZE, "bar_size": 4096, **settings})
        self.target = Target(spec, side, Regions(), self.seen.append)

    def ask(self, command, payload=b"") -> bytes:
        reply = self.target.answer(command, payload)
        assert reply.errno == 0
        return reply.payload

    def errno(self, command, payload=b"") -> int:
        reply = self.target.answer(command, payload)
        assert not reply.payload
        return reply.errno

    def go(self, state):
        data = uapi.MIG_STATE.pack(state, 0x7777)
        return self.target.answer(Command.DEVICE_FEATURE, feature(Feature.MIG_DEVICE_STATE, data))


def feature(number, data=b"", operation=uapi.FEATURE_SET):
    size = uapi.FEATURE_HEADER.size + max(len(data), 8)
    return uapi.FEATURE_HEADER.pack(size, number | operation) + data


def read_state(served, size):
    payload = served.ask(Command.MIG_DATA_READ, MigData(size).pack())
    return MigData.parse(payload, has_data=True).data


def test_version_is_the_lower_of_both():
    served = Served()
    assert Version.parse(served.ask(Command.VERSION, Version(minor=0).pack())).minor == 0
    assert Version.parse(served.ask(Command.VERSION, Version(minor=9).pack())).minor == 1
    assert served.errno(Command.VERSION, Version(major=1).pack()) == errno.EINVAL


def test_information_is_that_of_the_ioctls():
    served = Served()
    info = served.ask(Command.DEVICE_GET_INFO, struct.pack("<4I", 16, 0, 0, 0))
    assert struct.unpack("<4I", info)[1:] == (3, 9, 5)
    ask = uapi.REGION_INFO.pack(32, 0, 0, 0, 0, 0)
    reply = served.target.answer(Command.DEVICE_GET_REGION_INFO, ask)
    assert RegionInfo.parse(reply.payload).size == 4096
    assert reply.has_regions, "it can be mapped"
    config = uapi.REGION_INFO.pack(32, 0, 7, 0, 0, 0)
    assert not served.target.answer(Command.DEVICE_GET_REGION_INFO, config).has_regions
    bad = uapi.REGION_INFO.pack(32, 0, 12, 0, 0, 0)
    assert served.errno(Command.DEVICE_GET_REGION_INFO, bad) == errno.EINVAL
    irq = served.ask(Command.DEVICE_GET_IRQ_INFO, uapi.IRQ_INFO.pack(16, 0, 4, 0))
    assert uapi.IRQ_INFO.unpack(irq)[3] == 1


def test_regions_are_read_and_written():
    served = Served()
    write = RegionAccess(0, 8, 3, b"abc")
    assert served.ask(Command.REGION_WRITE, write.pack()) == RegionAccess(0, 8, 3).pack()
    found = served.ask(Command.REGION_READ, RegionAccess(0, 7, 5).pack())
    assert RegionAccess.parse(found, has_data=True).data == b"\0abc\0"
    many = struct.pack("<Q", 1) + struct.pack("<QII8s", 8, 0, 1, b"x")
    assert served.ask(Command.REGION_WRITE_MULTI, many) == struct.pack("<Q", 1)
    found = served.ask(Command.REGION_READ, RegionAccess(0, 8, 1).pack())
    assert RegionAccess.parse(found, has_data=True).data == b"x"
    ids = served.ask(Command.REGION_READ, RegionAccess(7, 0, 4).pack())
    assert RegionAccess.parse(ids, has_data=True).data == struct.pack("<HH", 0x1234, 0x7FD0)


@pytest.mark.parametrize(("region", "offset"), [(0, 4096), (0, 2**63), (7, 256), (3, 0), (99, 0)])
def test_access_outside_a_region_is_refused(region, offset):
    access = RegionAccess(region, offset, 1)
    assert Served().errno(Command.REGION_READ, access.pack()) == errno.EINVAL
    write = RegionAccess(region, offset, 1, b"x")
    assert Served().errno(Command.REGION_WRITE, write.pack()) == errno.EINVAL


def test_mappings_are_kept_until_they_end():
    served = Served()
    mapping = DmaMap(3, 0, 0x1000, 0x2000)
    assert served.ask(Command.DMA_MAP, mapping.pack()) == b""
    assert served.target.maps == {(0x1000, 0x2000): mapping}
    unmap = DmaUnmap(0x1000, 0x2000).pack()
    assert served.ask(Command.DMA_UNMAP, unmap) == unmap
    assert served.errno(Command.DMA_UNMAP, unmap) == errno.ENOENT


@pytest.mark.parametrize("piece", [1000, 4096, SIZE, 3 * SIZE])
def test_state_of_the_source_arrives_at_the_destination(piece):
    source, destination = Served(), Served("destination", seed=9)
    source.target.function.fill_contents()
    assert source.go(S.STOP_COPY).errno == 0
    assert destination.go(S.RESUMING).errno == 0
    sizes = []
    while data := read_state(source, piece):
        sizes.append(len(data))
        assert destination.ask(Command.MIG_DATA_WRITE, MigData(len(data), data).pack()) == b""
    assert sum(sizes) == SIZE
    assert all(size == piece for size in sizes[:-1]), "less is the end"
    assert destination.go(S.RUNNING).errno == 0
    for region, size in ((0, 4096), (7, config_space.SIZE)):
        ask = RegionAccess(region, 0, size).pack()
        assert source.ask(Command.REGION_READ, ask) == destination.ask(Command.REGION_READ, ask)
    assert [type(each) for each in source.seen] == [Arc]


def test_sizes_of_single_calls_are_not_those_of_messages():
    """A reply that is shorter than what was asked for would be the end of the state."""
    source = Served(save=SaveBehaviour(read_sizes=(7,)))
    source.go(S.STOP_COPY)
    assert len(read_state(source, 1000)) == 1000


def test_errors_of_the_plan():
    source = Served(save=SaveBehaviour(error_at=1500))
    source.go(S.STOP_COPY)
    assert len(read_state(source, 1000)) == 1000
    assert len(read_state(source, 1000)) == 500
    assert source.errno(Command.MIG_DATA_READ, MigData(1000).pack()) == errno.EIO
    destination = Served("destination", load=LoadBehaviour(error_at=1500))
    destination.go(S.RESUMING)
    piece = MigData(1000, bytes(1000)).pack()
    assert destination.ask(Command.MIG_DATA_WRITE, piece) == b""
    assert destination.errno(Command.MIG_DATA_WRITE, piece) == errno.EIO
    refuses = (RefusedArc(side="destination", to=MigrationState.RESUMING, errno=errno.ENOMEM),)
    assert Served("destination", refuses=refuses).go(S.RESUMING).errno == errno.ENOMEM
    assert Served("source", refuses=refuses).go(S.RESUMING).errno == 0


def test_data_in_another_state_is_refused():
    served = Served()
    assert served.errno(Command.MIG_DATA_READ, MigData(1).pack()) == errno.EINVAL
    assert served.errno(Command.MIG_DATA_WRITE, MigData(1, b"x").pack()) == errno.EINVAL
    served.go(S.STOP_COPY)
    read_state(served, 10)
    served.go(S.RUNNING)
    assert served.errno(Command.MIG_DATA_READ, MigData(1).pack()) == errno.EINVAL


def test_reset_and_interrupts_have_no_payload_in_their_replies():
    served = Served()
    assert served.ask(Command.DEVICE_RESET) == b""
    assert served.ask(Command.DEVICE_SET_IRQS, struct.pack("<5I", 20, 0x24, 4, 0, 1)) == b""
    assert served.errno(Command.DEVICE_SET_IRQS, bytes(19)) == errno.EINVAL


def test_commands_that_a_server_lacks_are_refused():
    served = Served()
    for command in (0, Command.DMA_READ, Command.DIRTY_PAGES, 19, 65535):
        assert served.target.answer(command, bytes(64)) == Reply(errno=errno.ENOTSUP)


def test_commands_and_features_are_counted():
    served = Served()
    served.ask(Command.DEVICE_RESET)
    served.ask(Command.DEVICE_RESET)
    served.ask(Command.DEVICE_FEATURE, feature(Feature.MIGRATION, operation=uapi.FEATURE_GET))
    assert served.target.asked == {"DEVICE_RESET": 2, "DEVICE_FEATURE": 1}
    assert served.target.features == {Feature.MIGRATION}


STEPS = st.lists(
    st.tuples(
        st.integers(0, 20) | st.integers(0, 65535),
        st.binary(max_size=80)
        | st.builds(
            lambda state: feature(Feature.MIG_DEVICE_STATE, uapi.MIG_STATE.pack(state, 0)),
            st.integers(0, 9),
        )
        | st.builds(
            lambda number, operation, data: feature(number, data, operation << 16),
            st.integers(0, 20),
            st.integers(0, 7),
            st.binary(max_size=40),
        )
        | st.builds(
            lambda size: MigData(size, bytes(min(size, 5000))).pack(), st.integers(0, 6000)
        ),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(steps=STEPS)
def test_no_message_makes_the_server_fail(steps):
    """Any bytes, in any order, are answered: with a payload or with an errno."""
    served = Served()
    for command, payload in steps:
        reply = served.target.answer(command, payload)
        assert reply.errno >= 0
        assert not (reply.errno and reply.payload)
        assert len(reply.payload) < 1 << 17
