"""MSI-X of the device, as QEMU arms it (hw/vfio/pci.c) and as it is fired."""

import errno

import pytest

from harness.history.device import Armed, Fired
from harness.scenario.interrupts import At, Fire, Interrupts
from harness.vfio import uapi
from harness.vfio.interrupts import Lines
from harness.vfio.uapi import Irq

ADDRESS = 0x1000
EVENTFD = uapi.IRQ_SET_DATA_EVENTFD | uapi.IRQ_SET_ACTION_TRIGGER
NOTHING = uapi.IRQ_SET_DATA_NONE | uapi.IRQ_SET_ACTION_TRIGGER


class Device:
    def __init__(self, target, **fields):
        self.target, self.seen, self.shown = target, [], []
        spec = Interrupts(**{"vectors": 4, **fields})
        self.lines = Lines(spec, self.seen.append, lambda pending: self.shown.append(set(pending)))

    def arm(self, *fds, start=0, flags=EVENTFD, count=None, index=Irq.MSIX, argsz=None):
        data = b"".join(fd.to_bytes(4, "little", signed=True) for fd in fds)
        number = len(fds) if count is None else count
        size = uapi.IRQ_SET.size + len(data) if argsz is None else argsz
        self.target.put(ADDRESS, uapi.IRQ_SET.pack(size, flags, index, start, number) + data)
        answer = self.lines.arm(ADDRESS, self.target)
        return answer.errno, answer.signals

    def info(self, index):
        self.target.put(ADDRESS, uapi.IRQ_INFO.pack(16, 0, index, 0))
        answer = self.lines.info(ADDRESS, self.target)
        ((_, data),) = answer.writes
        return uapi.IRQ_INFO.unpack(data)


@pytest.fixture
def new(target):
    return lambda **fields: Device(target, **fields)


def test_vectors_are_reported_and_can_be_resized(new):
    assert new().info(Irq.MSIX) == (16, uapi.IRQ_EVENTFD, Irq.MSIX, 4)
    plain = new(vectors=0).info(Irq.MSIX)
    assert plain == (16, uapi.IRQ_EVENTFD | uapi.IRQ_NORESIZE, Irq.MSIX, 0)
    assert new().info(Irq.INTX)[3] == 0
    assert new().info(Irq.REQ)[3] == 1


def test_vectors_are_armed_one_by_one_and_all_at_once(new):
    device = new()
    assert device.arm(-1) == (0, ())  # enables MSI-X without a vector
    assert device.arm(10, 11, -1, 13) == (0, ())
    assert device.lines.armed == {0: 10, 1: 11, 3: 13}
    device.arm(12, start=2)
    device.arm(-1, start=1)
    assert device.lines.armed == {0: 10, 2: 12, 3: 13}
    device.arm(flags=NOTHING)
    assert device.lines.armed == {}
    assert [each.vectors for each in device.seen] == [
        [], [0, 1, 3], [0, 1, 2, 3], [0, 2, 3], [],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": 3},
        {"argsz": 20},
        {"flags": uapi.IRQ_SET_DATA_EVENTFD | 1 << 3},
        {"flags": 1 << 1 | uapi.IRQ_SET_ACTION_TRIGGER},
        {"flags": NOTHING, "count": 2},
    ],
)
def test_call_that_the_kernel_refuses(new, wrong):
    device = new()
    assert device.arm(10, 11, **wrong) == (errno.EINVAL, ())
    assert device.lines.armed == {}
    assert device.seen == []


def test_other_interrupts_and_devices_without_vectors_are_left_alone(new):
    device = new()
    assert device.arm(10, index=Irq.REQ) == (0, ())
    assert new(vectors=0).arm(10) == (0, ())
    assert device.seen == []


def test_device_that_fails_to_arm(new):
    device = new(arm_errno=errno.EIO)
    assert device.arm(10) == (errno.EIO, ())
    assert device.lines.armed == {}
    assert device.seen == [Armed(vectors=[], errno=errno.EIO)]
    assert device.arm(flags=NOTHING) == (0, ())


def test_each_interrupt_is_fired_once(new):
    device = new(fires=(Fire(at=At.STOPPING, vector=1), Fire(at=At.RUNNING, vector=2)))
    device.arm(10, 11, 12)
    assert device.lines.fire(At.BEFORE) == ()
    assert device.lines.fire(At.STOPPING) == (11,)
    assert device.lines.fire(At.STOPPING) == ()
    assert device.seen[-1] == Fired(vector=1, at="stopping", armed=True)


def test_interrupt_of_a_vector_that_is_not_armed_waits_for_it(new):
    device = new(fires=(Fire(at=At.RUNNING, vector=2), Fire(at=At.RUNNING, vector=3)))
    assert device.lines.fire(At.RUNNING) == ()
    assert device.seen[-1] == Fired(vector=3, at="running", armed=False)
    assert device.shown[-1] == {2, 3}
    assert device.arm(10, 11, 12) == (0, (12,))
    assert device.shown[-1] == {3}
    assert device.arm(10, 11, 12) == (0, ())
