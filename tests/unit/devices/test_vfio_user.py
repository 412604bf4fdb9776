"""Devices behind vfio-user servers as QEMU options, and their life."""

import json
import os
import subprocess
import sys

import pytest

from harness.devices.of_kind import Target
from harness.devices.vfio_user import VfioUserDevices, _descriptors_of
from harness.errors import DeviceLost
from harness.history import Side
from harness.history.device import Abilities, Config
from harness.scenario import OnOffAuto
from harness.scenario.devices import VfioUserDevice
from harness.scenario.vfio_user import ServerDoes, ServerFault, VfioUserClient
from harness.vfio import uapi
from harness.vfio.uapi import Feature
from harness.vfio_user.messages import Command

QEMU = {
    "client": VfioUserClient.QEMU,
    "enable_migration": OnOffAuto.AUTO,
    "multifd_transfer": None,
}


def spec(name="a", **settings):
    return VfioUserDevice(**{"id": name, "size": 100, "bar_size": 4096, **settings})


def fault(command, does):
    return ServerFault(side="source", command=command, does=does)


@pytest.fixture
def records():
    return []


@pytest.fixture
def attach(records):
    """Makes the devices of the source."""
    made = []

    def make(*specs):
        made.append(VfioUserDevices(specs, Target(Side.SOURCE, specs, records.append)))
        return made[-1]

    yield make
    for devices in made:
        devices.close()
        devices.close()


def test_devices_of_the_harness_come_as_descriptors(attach):
    devices = attach(spec("a"), spec("b"))
    assert len(devices.objects()) == 2
    options = devices.options()
    assert [value.partition(",")[0] for _, value in options.values()] == ["vfio-pci"] * 2
    assert devices.launch is not None
    assert set(devices.trace_names().values()) == {"a", "b"}


def test_device_of_qemus_client_comes_as_the_path_of_a_socket(attach):
    devices = attach(spec(**QEMU))
    assert devices.objects() == []
    assert devices.launch is None
    (option,) = devices.options().values()
    found = json.loads(option[1])
    assert (found["driver"], found["id"], found["addr"]) == ("vfio-user-pci", "a", "0x2")
    assert found["socket"]["type"] == "unix"
    assert f"vfio-user:{found['socket']['path']}" in devices.trace_names()


def test_contents_are_filled_and_recorded(attach, records):
    devices = attach(spec("a"), spec("b", **QEMU))
    devices.fill_contents()
    devices.observe_config()
    seen = {r.device: r.args for r in records if isinstance(r.args, Config)}
    assert seen["a"].scratch == seen["b"].scratch, "of one seed"
    assert set(seen["a"].scratch) != {"0"}


@pytest.mark.parametrize("asks", [False, True])
def test_what_qemus_client_can_do_is_what_it_has_asked_for(attach, records, asks):
    devices = attach(spec(**QEMU))
    target = devices.servers["a"].target
    if asks:
        get = uapi.FEATURE_HEADER.pack(16, Feature.MIGRATION | uapi.FEATURE_GET)
        target.answer(Command.DEVICE_FEATURE, get)
    target.answer(Command.DEVICE_FEATURE, uapi.FEATURE_HEADER.pack(8, 11 | uapi.FEATURE_GET))
    devices.report()
    first, last = (r.args for r in records if isinstance(r.args, Abilities))
    assert not first.stop_copy, "it is known before QEMU starts"
    assert last.stop_copy is asks
    assert not last.pre_copy


@pytest.mark.parametrize(
    ("does", "command", "limit_s"),
    [
        (ServerDoes.STALL, "VERSION", 0.05),
        (ServerDoes.DIE, "VERSION", 10),
        (ServerDoes.DIE, "DEVICE_GET_REGION_INFO", 10),
        (ServerDoes.CUT, "REGION_READ", 10),
        (ServerDoes.WRONG_ID, "DEVICE_FEATURE", 10),
    ],
)
def test_server_that_is_lost_at_the_start_is_one_line_and_leaves_nothing(does, command, limit_s):
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    wrong = spec("b", server_faults=(fault(command, does),), reply_limit_s=limit_s)
    specs = (spec("a"), wrong)
    with pytest.raises(DeviceLost, match=r"^b: the vfio-user server is lost: ") as caught:
        VfioUserDevices(specs, Target(Side.SOURCE, specs, lambda _record: None))
    assert command in str(caught.value)
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_server_that_is_lost_later_is_the_failure(attach):
    devices = attach(spec(server_faults=(fault("DEVICE_RESET", ServerDoes.DIE),)))
    assert devices.failure is None
    with pytest.raises(OSError, match="ended the connection at DEVICE_RESET"):
        devices.devices[0].function.ioctl(uapi.Vfio.DEVICE_RESET, 0, None)
    assert isinstance(devices.failure, DeviceLost)


def test_nothing_waits_while_nothing_is_asked(attach):
    assert not attach(spec()).is_waiting


def test_threads_are_those_of_the_servers(attach):
    devices = attach(spec("a"), spec("b", **QEMU))
    assert len(devices.thread_ids) == 3, "the supervisor's, too"
    assert len(attach(spec("c", **QEMU)).thread_ids) == 1


def test_descriptors_of_another_process_are_ours():
    code = "import os, sys; fd = os.eventfd(3); print(fd, flush=True); sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        number = int(child.stdout.readline())
        (fd,) = _descriptors_of(child.pid, [number])
        assert os.eventfd_read(fd) == 3
        os.close(fd)
        before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
        with pytest.raises(OSError, match="Bad file descriptor"):
            _descriptors_of(child.pid, [number, 9999])
        assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    finally:
        child.communicate()
