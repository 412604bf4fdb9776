"""What the kernel says of a device: by group, by iommufd, and each way to be refused.

The device behind an iommufd is the harness's own, under the filter, as QEMU sees it.
"""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.devices import abilities
from harness.devices.emulated import EmulatedDevices
from harness.devices.of_kind import Target
from harness.errors import PrerequisiteMissing
from harness.history import Side
from harness.scenario import Abilities, EmulatedDevice
from harness.supervisor.spawn import Spawn
from harness.vfio import uapi
from harness.vfio.uapi import Container, Feature, Iommufd, MigrationFlag, Vfio
from tests.unit.devices.pci_sysfs import CARD, FakePci

NAME = "0000:3b:00.2"
ALL = Abilities(stop_copy=True, p2p=True, pre_copy=True, dma_logging=True)
NONE = Abilities(stop_copy=False, p2p=False, pre_copy=False, dma_logging=False)


class Kernel:
    """Answers ioctls; remembers them by number."""

    def __init__(self, device):
        self.device = device
        self.flags = MigrationFlag.STOP_COPY
        self.has_dma_logging = False
        self.errors = {}
        self.is_viable = True
        self.tracks = False
        self.calls = {}

    def ioctl(self, _fd, number, argument):
        self.calls[number] = argument
        if number in self.errors:
            raise OSError(self.errors[number], os.strerror(self.errors[number]))
        if number == Container.GROUP_GET_STATUS:
            argument[4:8] = int(self.is_viable).to_bytes(4, "little")
        if number == Container.GROUP_GET_DEVICE_FD:
            return os.dup(self.device)
        if number == Vfio.DEVICE_FEATURE:
            self._feature(argument)
        if number == Vfio.DEVICE_BIND_IOMMUFD:
            argument[12:16] = (77).to_bytes(4, "little")
        if number == Iommufd.GET_HW_INFO:
            assert argument[8:12] == (77).to_bytes(4, "little")
            argument[32] = self.tracks
        return 0

    def _feature(self, argument):
        argsz, flags = uapi.FEATURE_HEADER.unpack_from(argument)
        assert argsz == len(argument)
        if flags == uapi.FEATURE_GET | Feature.MIGRATION:
            if not self.flags:
                raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")
            uapi.MIGRATION.pack_into(argument, 8, self.flags)
        else:
            assert flags == uapi.FEATURE_PROBE | Feature.DMA_LOGGING_START
            if not self.has_dma_logging:
                raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")


@pytest.fixture
def group(tmp_path):
    """A /dev with a container and a group; the group's file."""
    for name in ("vfio", "12"):
        (tmp_path / name).touch()
    return tmp_path / "12"


@pytest.fixture
def kernel(group):
    fd = os.open(group, os.O_RDONLY)
    yield Kernel(fd)
    os.close(fd)


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_device_of_a_group_is_asked_for_its_flags(group, kernel):
    before = open_files()
    assert abilities.by_group(NAME, group, kernel.ioctl) == Abilities(
        stop_copy=True, p2p=False, pre_copy=False, dma_logging=False
    )
    kernel.flags, kernel.has_dma_logging = MigrationFlag(7), True
    assert abilities.by_group(NAME, group, kernel.ioctl) == ALL
    assert bytes(kernel.calls[Container.GROUP_GET_DEVICE_FD]) == NAME.encode() + b"\0"
    assert kernel.calls[Container.SET_IOMMU] == uapi.TYPE1V2_IOMMU
    assert open_files() == before


def test_device_that_does_not_migrate(group, kernel):
    kernel.flags = 0
    found = abilities.by_group(NAME, group, kernel.ioctl)
    assert found == NONE
    assert str(found) == "does not migrate"
    assert str(ALL) == "STOP_COPY, P2P, PRE_COPY, DMA_LOGGING"


def test_group_that_is_not_viable(group, kernel):
    kernel.is_viable = False
    with pytest.raises(PrerequisiteMissing, match=f"^{NAME}: IOMMU group 12 is not viable"):
        abilities.by_group(NAME, group, kernel.ioctl)


@pytest.mark.parametrize(
    ("number", "error", "why"),
    [
        (Container.SET_IOMMU, errno.EPERM, "does not remap interrupts"),
        (Container.SET_IOMMU, errno.ENODEV, "cannot open the device through .*/12: No such device"),
        (Container.GROUP_GET_DEVICE_FD, errno.ENODEV, "cannot open the device through"),
        (Container.GROUP_GET_STATUS, errno.ENOTTY, "cannot open the device through"),
    ],
)
def test_refusal_of_the_kernel_is_reported(group, kernel, number, error, why):
    kernel.errors[number] = error
    before = open_files()
    with pytest.raises(PrerequisiteMissing, match=f"^{NAME}: .*{why}"):
        abilities.by_group(NAME, group, kernel.ioctl)
    assert open_files() == before


def test_group_that_is_not_there(tmp_path, kernel):
    with pytest.raises(PrerequisiteMissing, match=f"^{NAME}: .*/99: No such file"):
        abilities.by_group(NAME, tmp_path / "99", kernel.ioctl)


@pytest.mark.parametrize(
    ("error", "why"), [(errno.EBUSY, "is in use: end pid"), (errno.EACCES, "as root")]
)
def test_group_that_may_not_be_opened(group, kernel, monkeypatch, error, why):
    real = os.open

    def refuse(path, flags):
        if str(path) == str(group):
            raise OSError(error, os.strerror(error))
        return real(path, flags)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PrerequisiteMissing, match=why) as raised:
        abilities.by_group(NAME, group, kernel.ioctl)
    assert (f"pid {os.getpid()} (" in str(raised.value)) is (error == errno.EBUSY)


ASK = """
import sys
from harness.devices import abilities
print(abilities.of_bound("device", int(sys.argv[1]), int(sys.argv[2])))
"""


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (EmulatedDevice(id="a", pre_copy=True), "STOP_COPY, P2P, PRE_COPY, DMA_LOGGING"),
        (EmulatedDevice(id="a", p2p=False, dma_logging=False), "STOP_COPY"),
        (EmulatedDevice(id="a", stop_copy=False), "does not migrate"),
    ],
)
def test_device_of_an_iommufd_is_asked_as_qemu_asks_it(spec, words):
    devices = EmulatedDevices([spec], Target(Side.SOURCE, [spec], lambda _record: None))
    fds = [str(devices.devices[0].fd), str(devices.supervisor.iommufd.fd)]
    child = devices.supervisor.launch(
        Spawn(argv=[sys.executable, "-c", ASK, *fds], stdout=subprocess.PIPE)
    )
    out, _ = child.communicate(timeout=300)
    devices.close()
    assert (child.returncode, out.decode().strip()) == (0, words)


def test_own_file_of_a_device_is_bound_to_the_iommufd(tmp_path, group, kernel):
    seen = {}

    def ioctl(fd, number, argument):
        seen[number] = str(Path(f"/proc/self/fd/{fd}").readlink()), argument
        return kernel.ioctl(fd, number, argument)

    iommufd = tmp_path / "iommu"
    iommufd.touch()
    assert abilities.by_iommufd(NAME, group, iommufd, ioctl).stop_copy
    opened, binding = seen[Vfio.DEVICE_BIND_IOMMUFD]
    argsz, flags, fd, _ = uapi.BIND_IOMMUFD.unpack(binding)
    assert (opened, argsz, flags) == (str(group), 16, 0)
    assert fd > 0
    kernel.tracks = True
    assert abilities.by_iommufd(NAME, group, iommufd, ioctl).iommu_tracking
    kernel.errors[Iommufd.GET_HW_INFO] = errno.EOPNOTSUPP
    assert not abilities.by_iommufd(NAME, group, iommufd, ioctl).iommu_tracking
    kernel.errors[Vfio.DEVICE_BIND_IOMMUFD] = errno.EBUSY
    with pytest.raises(
        PrerequisiteMissing, match="cannot bind the device to an iommufd: Device or"
    ):
        abilities.by_iommufd(NAME, group, iommufd, ioctl)


def test_function_is_asked_by_iommufd_only_where_it_has_a_file_of_its_own(tmp_path, monkeypatch):
    pci = FakePci(tmp_path)
    function = pci.bus.function(CARD)
    monkeypatch.setattr(abilities, "by_group", lambda name, group: (name, group))
    monkeypatch.setattr(abilities, "by_iommufd", lambda *args: args)
    group = (CARD, pci.dev / "vfio/12")
    asked: Any = abilities.of_function  # the fakes return what they were called with
    assert asked(pci.bus, function, True) == group
    own = pci.give_own_file(CARD)
    assert asked(pci.bus, function, False) == group
    assert asked(pci.bus, function, True) == (CARD, own, pci.dev / "iommu")
