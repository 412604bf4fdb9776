"""mdev devices of the kernel itself: made, used by a QEMU, refused, removed."""

import itertools
import os
import signal
import subprocess
import sys
import uuid

import pytest

from harness.devices.ledger import Ledger
from harness.devices.mdev import MdevDevices
from harness.devices.mdev_bus import MdevBus
from harness.errors import PrerequisiteMissing
from harness.vm import builds
from tests.unit.devices.test_mdev import spec, target

KILLED = """
import os, signal, sys
from pathlib import Path
from harness.devices.ledger import Ledger
from harness.devices.mdev import MdevDevices
from tests.unit.devices.test_mdev import spec, target

ledger = Ledger("mdev", Path(sys.argv[1]))
specs = [spec("a"), spec("b", "mtty-2")]
devices = MdevDevices(specs, target(specs), ledger=ledger)
print(*devices.uuids, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def bus():
    """The rig's, with mtty."""
    return MdevBus()


@pytest.fixture
def attach(bus, tmp_path):
    """Makes the devices of one side; they are gone at the end."""
    made = []

    def attach(*specs):
        ledger = Ledger("mdev", tmp_path / "run")
        made.append(MdevDevices(specs, target(specs), bus, ledger))
        return made[-1]

    yield attach
    for devices in made:
        devices.close()


def left(bus):
    return {kind.name: kind.available for kind in bus.types()}


def test_devices_take_ports_and_give_them_back(bus, attach):
    before = left(bus)
    devices = attach(spec("a", "mtty-1"), spec("b", "mtty-2"))
    assert all(bus.device(name).is_dir() for name in devices.uuids)
    assert left(bus)["mtty-1"] == before["mtty-1"] - 3
    devices.close()
    assert left(bus) == before


def test_type_that_is_full_is_refused_and_nothing_left(bus, attach):
    before = left(bus)
    count = before["mtty-2"]
    with pytest.raises(
        PrerequisiteMissing, match=f"^{count}: mdev type mtty-2 of .* has no instance left"
    ):
        attach(*(spec(str(number), "mtty-2") for number in range(count + 1)))
    assert left(bus) == before


def test_what_a_killed_run_left_is_removed_and_nothing_else(bus, attach, tmp_path):
    before = left(bus)
    foreign = str(uuid.uuid4())
    bus.create(bus.find("mtty-1"), foreign)
    try:
        argv = [sys.executable, "-c", KILLED, tmp_path / "run"]
        killed = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        names = killed.stdout.split()
        assert all(bus.device(name).is_dir() for name in names)
        attach()
        assert not any(bus.device(name).exists() for name in names)
        assert bus.device(foreign).is_dir()
    finally:
        bus.remove(foreign)
    assert left(bus) == before


def test_qemu_takes_them(attach):
    devices = attach(spec("a", "mtty-1"), spec("b", "mtty-2"))
    machine = ["-M", "q35", "-accel", "tcg", "-S", "-nodefaults", "-display", "none"]
    started = subprocess.run(
        [builds.find(), *machine, "-qmp", "stdio", *itertools.chain(*devices.options().values())],
        input='{"execute": "qmp_capabilities"} {"execute": "query-pci"} {"execute": "quit"}',
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert started.returncode == 0, started.stderr
    assert '"qdev_id": "a"' in started.stdout
    assert '"qdev_id": "b"' in started.stdout
    assert os.path.lexists(f"/sys/bus/mdev/devices/{devices.uuids[0]}")
