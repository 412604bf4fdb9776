"""One side: how its QEMU is started, set up and handed over."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.errors import PrerequisiteMissing
from harness.history import Side
from harness.scenario import Scenario
from harness.scenario.guest_plan import LINUX_RAM_MIB, Guest, GuestKind
from harness.session.log import Log, SideLog
from harness.session.peer import Peer
from harness.vm import guest_image, lacking

FIRMWARE = Path("/run/halt.bin")
SCENARIO = Scenario(name="guest", ram_mib=LINUX_RAM_MIB, guest=Guest())


@pytest.fixture
def peer():
    console = SimpleNamespace(fd=7, options=lambda: ["-serial", "chardev:console"])
    log = SideLog(Side.SOURCE, Log())
    return Peer(log, Path("/qemu"), None, None, None, Path("/trace"), console)


def test_without_a_guest_the_firmware_is_all(peer):
    peer.console = None
    plain = Scenario(name="plain")
    assert peer._boot(plain, FIRMWARE) == (("-bios", "/run/halt.bin"), ())


def test_guest_is_booted_with_its_console(peer, monkeypatch):
    image = guest_image.GuestImage(Path("/c/vmlinuz"), Path("/c/initrd"))
    asked: list[Path] = []
    monkeypatch.setattr(guest_image, "find", lambda: image)
    monkeypatch.setattr(lacking, "of_firmware", asked.append)
    options, fds = peer._boot(SCENARIO, FIRMWARE)
    assert options[:2] == ["-kernel", "/c/vmlinuz"]
    assert "console=ttyS0 quiet memory_kib=4096" in options
    assert options[-2:] == ["-serial", "chardev:console"]
    assert fds == [7]
    assert asked == [peer.binary]


def test_firmware_is_booted_with_its_console(peer):
    quick = Scenario(name="quick", guest=Guest(kind=GuestKind.FIRMWARE, memory_kib=64))
    boots = ["-bios", "/run/halt.bin", "-serial", "chardev:console"]
    assert peer._boot(quick, FIRMWARE) == (boots, [7])


def test_guest_that_is_not_built_is_missing(peer, monkeypatch, tmp_path):
    find = guest_image.find
    monkeypatch.setattr(guest_image, "find", lambda: find(tmp_path))
    monkeypatch.setattr(lacking, "of_firmware", lambda _binary: None)
    with pytest.raises(PrerequisiteMissing, match="make guest"):
        peer._boot(SCENARIO, FIRMWARE)
