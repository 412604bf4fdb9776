"""PCI functions of the kernel itself: bound, booted, judged, refused, given back."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.check.verdict import Outcome
from harness.devices.ledger import Ledger
from harness.devices.of_kind import Target
from harness.devices.pci import PciDevices, give_back_abandoned
from harness.devices.pci_bus import PciBus
from harness.errors import PrerequisiteMissing
from harness.history import Kind, Side, plain
from harness.rig.command_line import PCI_SLOTS
from harness.scenario import OnOffAuto, PciDevice, Scenario

SOURCE, DESTINATION = (f"0000:00:{slot:02x}.0" for slot in PCI_SLOTS)
SHARED, BESIDE = "0000:00:1f.2", "0000:00:1f.3"
"""Two functions of the machine's chipset, in one IOMMU group."""
DRIVER = "e1000e"
NOT_IN_KERNEL = "VFIO migration is not supported in kernel"

KILLED = """
import os, signal, subprocess, sys
from pathlib import Path
from harness.devices.ledger import Ledger
from harness.devices.of_kind import Target
from harness.devices.pci import PciDevices
from harness.history import Side
from harness.scenario import OnOffAuto, PciDevice
from harness.vm import builds
from harness.vm.process import GUARD

folder, address = sys.argv[1:]
spec = PciDevice(id="a", source=address, enable_migration=OnOffAuto.AUTO)
target = Target(Side.SOURCE, [spec], lambda _record: None)
devices = PciDevices([spec], target, ledger=Ledger("pci", Path(folder)))
machine = ["-M", "q35", "-accel", "tcg", "-S", "-nodefaults", "-display", "none"]
qemu = subprocess.Popen(
    [*GUARD, builds.find(), *machine, "-qmp", "stdio", *devices.options()["a"]],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
)
assert b"QMP" in qemu.stdout.readline()
print(qemu.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def bus():
    """The machine's, whose two cards have a driver of their own."""
    bus = PciBus()
    if not all(bus.device(address).exists() for address in (SOURCE, DESTINATION)):
        pytest.skip("no cards to pass through here: vfio-multifd rig run -- pytest tests/rig")
    subprocess.run(["modprobe", "-a", DRIVER, "ahci"], check=True)
    return bus


@pytest.fixture
def before(bus):
    """How the functions are before a test, and must be after it."""
    states = [bus.function(address) for address in (SOURCE, DESTINATION, SHARED)]
    assert [state.driver for state in states] == [DRIVER, DRIVER, "ahci"]
    yield states
    after = [bus.function(state.address) for state in states]
    for state in states:  # for the tests that follow
        bus.restore(state.address, state.driver, state.override)
    assert after == states


@pytest.fixture
def ledger(tmp_path):
    return Ledger("pci", tmp_path / "run")


def pair(**fields):
    return PciDevice(id="nic", source=SOURCE, destination=DESTINATION, **fields)


def told(run, name, side, kind=Kind.DEVICE):
    return [r for r in run.history.records if (r.kind, r.name, r.side) == (kind, name, side)]


def is_running(pid):
    """Whether it is there, and not only waits for somebody to take its status."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except FileNotFoundError:
        return False


@pytest.mark.requirement("SET-8")
async def test_both_qemus_have_a_function_and_the_kernels_reason_blocks_the_migration(
    before, judged, kept
):
    device = pair(enable_migration=OnOffAuto.AUTO)
    run = await judged(Scenario(name="pci", devices=(device,)))
    kept(run, "SET-8")
    for side, address in ((Side.SOURCE, SOURCE), (Side.DESTINATION, DESTINATION)):
        (bound,) = told(run, "bound", side)
        assert (bound.args.address, bound.args.found_with) == (address, DRIVER)
        assert bound.args.driver == "vfio-pci"
        (able,) = told(run, "abilities", side)
        assert not any(plain(able).values())
        assert not told(run, "hung", side, Kind.PROCESS)
    (shown,) = told(run, "guest_config", Side.SOURCE, Kind.SESSION)
    assert shown.device == "nic"
    (refused,) = (
        record
        for record in told(run, "error", Side.SOURCE, Kind.QMP)
        if record.args["command"] == "migrate"
    )
    assert refused.args["desc"] == f"{SOURCE}: {NOT_IN_KERNEL}"


@pytest.mark.requirement("SET-8")
async def test_function_that_must_migrate_is_refused_by_qemu_at_start(before, judged, kept):
    run = await judged(Scenario(name="pci-on", devices=(pair(),)))
    kept(run, "SET-8")
    (found,) = (f for f in run.verdict.findings if f.requirement == "SET-8")
    assert found.outcome is Outcome.VALID
    assert NOT_IN_KERNEL in found.numbers["said"]


def test_what_a_killed_run_left_is_given_back_and_nothing_else(before, bus, ledger, tmp_path):
    foreign = bus.function(DESTINATION)
    bus.bind(foreign, "vfio-pci")
    try:
        argv = [sys.executable, "-c", KILLED, tmp_path / "run", SOURCE]
        killed = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert bus.function(SOURCE).driver == "vfio-pci"
        assert give_back_abandoned(bus, ledger) == [SOURCE]
        assert not is_running(int(killed.stdout))
        assert bus.function(SOURCE).driver == DRIVER
        assert bus.function(DESTINATION).driver == "vfio-pci"
    finally:
        bus.restore(DESTINATION, foreign.driver, foreign.override)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (pair(iommufd=OnOffAuto.ON), "has no device file for iommufd: use Linux 6.6"),
        (pair(driver="mlx5_vfio_pci"), "PCI driver mlx5_vfio_pci is not loaded: run `modprobe"),
        (
            pair(driver=DRIVER),
            f"{DRIVER} is not a VFIO driver; loaded VFIO drivers: ivshmem_vfio_pci, vfio-pci",
        ),
        (PciDevice(id="nic", source="0000:77:00.0"), "no PCI device 0000:77:00.0"),
        (
            PciDevice(id="nic", source=BESIDE),
            f" with {SHARED}, which is bound to ahci: unbind that one as well",
        ),
    ],
    ids=["iommufd", "no driver", "no VFIO driver", "no device", "shared group"],
)
def test_what_cannot_be_had_is_one_line(before, bus, ledger, spec, why):
    with pytest.raises(PrerequisiteMissing) as refused:
        PciDevices([spec], Target(Side.SOURCE, [spec], lambda _record: None), bus, ledger)
    assert str(refused.value).startswith("nic: ")
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


def test_device_that_is_in_use_is_not_taken(before, bus, ledger):
    (interface,) = (path.name for path in (bus.device(SOURCE) / "net").iterdir())
    subprocess.run(["busybox", "ip", "link", "set", interface, "up"], check=True)
    try:
        with pytest.raises(PrerequisiteMissing, match=f"network interface {interface} is up"):
            PciDevices([pair()], Target(Side.SOURCE, [pair()], lambda _record: None), bus, ledger)
    finally:
        subprocess.run(["busybox", "ip", "link", "set", interface, "down"], check=True)
    found = bus.function(SOURCE)
    bus.bind(found, "vfio-pci")
    try:
        with (
            bus.group_file(found).open("r+b", buffering=0),
            pytest.raises(PrerequisiteMissing, match=rf"in use: end pid {os.getpid()} \("),
        ):
            PciDevices([pair()], Target(Side.SOURCE, [pair()], lambda _record: None), bus, ledger)
        assert bus.function(SOURCE).driver == "vfio-pci"
    finally:
        bus.restore(SOURCE, found.driver, found.override)
