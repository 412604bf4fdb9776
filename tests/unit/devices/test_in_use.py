"""What this machine does with a device, and who has a file open."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.devices.in_use import openers, use_of, wait_for_openers

HOLD = "import sys; file = open(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def proc(tmp_path):
    folder = tmp_path / "proc/self"
    folder.mkdir(parents=True)
    (folder / "mountinfo").write_text("22 1 259:3 / /home rw,noatime - ext4 /dev/nvme0n1p3 rw\n")
    (folder.parent / "swaps").write_text("Filename Type Size\n/dev/nvme0n1p2 partition 9 0 -2\n")
    return folder.parent


@pytest.fixture
def device(tmp_path):
    return tmp_path / "device"


@pytest.fixture
def disk(device):
    disk = device / "nvme/nvme0/block/nvme0n1"
    for number, folder in enumerate((disk, disk / "nvme0n1p1")):
        folder.mkdir(parents=True)
        (folder / "dev").write_text(f"259:{number}\n")
    (disk / "nvme0n1p1/partition").write_text("1\n")
    return disk


def test_device_of_another_kind_is_not_in_use(device, proc):
    device.mkdir()
    assert use_of(device, proc) == ""


@pytest.mark.parametrize(
    ("flags", "use"),
    [("0x1002", ""), ("0x1003", "network interface eth7 is up: ip link set eth7 down")],
)
def test_network_interface_that_is_up(device, proc, flags, use):
    (device / "net/eth7").mkdir(parents=True)
    (device / "net/eth7/flags").write_text(f"{flags}\n")
    assert use_of(device, proc) == use


def test_network_interface_that_udev_renames_meanwhile(device, proc, monkeypatch):
    (device / "net/eth0").mkdir(parents=True)
    (device / "net/eth0/flags").write_text("0x1003\n")
    read_text = Path.read_text

    def renamed_before(path):
        if path.parent.name == "eth0":
            path.parent.rename(path.parent.with_name("enp0s16"))
        return read_text(path)

    monkeypatch.setattr(Path, "read_text", renamed_before)
    assert use_of(device, proc).startswith("network interface enp0s16 is up")


def test_device_that_changes_all_the_time_is_in_use(device, proc):
    (device / "net/eth0").mkdir(parents=True)  # and never has flags
    assert use_of(device, proc).endswith("change while they are looked at: try again")


def test_disk_that_nothing_uses(device, disk, proc):
    assert use_of(device, proc) == ""


@pytest.mark.parametrize("part", [".", "nvme0n1p1"])
def test_disk_or_partition_that_is_mounted(device, disk, proc, part):
    (disk / part / "dev").write_text("259:3\n")
    name = (disk / part).resolve().name
    assert use_of(device, proc) == f"{name} is mounted on /home: umount /home"


def test_partition_that_is_part_of_another_device(device, disk, proc):
    (disk / "nvme0n1p1/holders/md0").mkdir(parents=True)
    assert use_of(device, proc).startswith("nvme0n1p1 is part of another block device")


def test_partition_that_is_swapped_to(device, disk, proc):
    (disk / "nvme0n1p1").rename(disk / "nvme0n1p2")
    assert use_of(device, proc).endswith("swapoff /dev/nvme0n1p2")


@pytest.fixture
def held(tmp_path):
    """A file that another process has open, and that process."""
    path = tmp_path / "group"
    path.touch()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == b"held\n"
        yield path, child
        child.kill()


def test_openers_are_named(held, tmp_path):
    path, child = held
    (opener,) = openers(tmp_path / "other", path)
    assert opener.pid == child.pid
    assert str(opener).startswith(f"pid {child.pid} (")
    assert openers(tmp_path / "other") == []


def test_opener_that_ends_is_waited_for(held):
    path, child = held
    child.stdin.close()
    assert wait_for_openers([path], 30.0) == []
    assert openers(path) == []


def test_opener_that_stays_is_reported_at_the_deadline(held):
    path, child = held
    since = time.monotonic()
    assert [left.pid for left in wait_for_openers([path], 0.1)] == [child.pid]
    assert time.monotonic() - since >= 0.1
    assert os.getpid() != child.pid
