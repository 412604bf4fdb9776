"""PCI functions of one side: bound, recorded, and given back in every case."""

import errno
import os
import subprocess
import sys

import pytest

from harness.devices import in_use, memlock
from harness.devices.ledger import Ledger
from harness.devices.of_kind import Target
from harness.devices.pci import PciDevices, give_back_abandoned
from harness.errors import HarnessError, PrerequisiteMissing
from harness.history import Side
from harness.history.device import Abilities as OfKernel
from harness.history.device import Bound
from harness.scenario import Abilities, MdevDevice, OnOffAuto, PciDevice
from tests.unit.devices.pci_sysfs import BRIDGE, CARD, DISK, OTHER_CARD, FakePci

MIGRATES = Abilities(stop_copy=True, p2p=True, pre_copy=False, dma_logging=False)
PLAIN = Abilities(stop_copy=False, p2p=False, pre_copy=False, dma_logging=False)
SPEC = PciDevice(id="nic0", source=CARD, destination=OTHER_CARD)


@pytest.fixture
def kernel(tmp_path):
    return FakePci(tmp_path)


@pytest.fixture
def ledger(tmp_path):
    return Ledger("pci", tmp_path / "run")


@pytest.fixture
def records():
    return []


@pytest.fixture
def attach(kernel, ledger, records):
    def attach(*specs, side=Side.SOURCE, able=MIGRATES, among=(), **how):
        def ask(_bus, function, has_iommufd):
            assert "vfio" in kernel.state(function.address)[0]
            return able

        target = Target(side, among or specs, records.append, **how)
        return PciDevices(specs, target, kernel.bus, ledger, ask)

    return attach


def claims(tmp_path):
    return sorted(path.name for path in (tmp_path / "run/pci").glob("*"))


def test_each_side_gets_its_function_and_gives_it_back(attach, kernel, tmp_path):
    source = attach(SPEC)
    destination = attach(SPEC, side=Side.DESTINATION)
    assert source.addresses == [CARD]
    assert destination.addresses == [OTHER_CARD]
    for address in (CARD, OTHER_CARD):
        assert kernel.state(address) == ("vfio-pci", "vfio-pci")
    assert claims(tmp_path) == [f"{CARD}.json", f"{OTHER_CARD}.json"]
    for devices in (source, source, destination):
        devices.close()
    for address in (CARD, OTHER_CARD):
        assert kernel.state(address) == ("nic", "(null)")
    assert claims(tmp_path) == []


def test_migration_back_goes_to_the_function_that_the_first_source_had(attach):
    there = attach(SPEC, side=Side.DESTINATION, taken=[CARD])
    assert there.addresses == [OTHER_CARD]
    there.close()
    assert attach(SPEC, side=Side.DESTINATION, taken=[OTHER_CARD]).addresses == [CARD]


def test_options_name_the_host_address(attach, kernel):
    devices = attach(SPEC, among=[*(MdevDevice(id=name) for name in "abc"), SPEC])
    assert devices.objects() == []
    ((name, option),) = devices.options().items()
    assert name == "nic0"
    assert option[0] == "-device"
    properties = dict(pair.split("=") for pair in option[1].split(",")[1:])
    assert properties == {
        "id": "nic0",
        "host": CARD,
        "addr": "0x5",
        "enable-migration": "on",
        "migration-events": "on",
        "x-migration-multifd-transfer": "on",
    }
    assert devices.trace_names() == {CARD: "nic0"}


@pytest.mark.parametrize("setting", [OnOffAuto.AUTO, OnOffAuto.ON])
def test_iommufd_where_the_kernel_has_it(attach, kernel, records, setting):
    kernel.give_own_file(CARD)
    devices = attach(PciDevice(id="a", source=CARD, destination=OTHER_CARD, iommufd=setting))
    assert devices.objects() == ["-object", "iommufd,id=iommufd-pci"]
    assert ",iommufd=iommufd-pci" in devices.options()["a"][1]
    assert records[0].args.iommufd is True


def test_container_where_it_is_wanted(attach, kernel):
    kernel.give_own_file(CARD)
    spec = PciDevice(id="a", source=CARD, destination=OTHER_CARD, iommufd=OnOffAuto.OFF)
    devices = attach(spec)
    assert devices.objects() == []
    assert "iommufd" not in devices.options()["a"][1]


def test_iommufd_that_the_kernel_has_not_is_refused_and_the_device_given_back(attach, kernel):
    spec = PciDevice(id="a", source=CARD, destination=OTHER_CARD, iommufd=OnOffAuto.ON)
    with pytest.raises(
        PrerequisiteMissing, match=r"^a: .* Linux 6\.6 or newer with CONFIG_IOMMUFD"
    ):
        attach(spec)
    assert kernel.state(CARD) == ("nic", "(null)")


def test_what_was_found_and_what_the_kernel_reports_are_recorded(attach, records):
    attach(SPEC)
    bound, able = records
    assert {(record.side, record.device) for record in records} == {(Side.SOURCE, "nic0")}
    assert bound.args == Bound(
        address=CARD,
        kind="8086:10d3",
        driver="vfio-pci",
        found_with="nic",
        group="12",
        iommufd=False,
    )
    assert able.args == OfKernel(stop_copy=True, p2p=True, pre_copy=False, dma_logging=False)


def test_device_with_the_right_driver_stays_as_it_is(attach, kernel, tmp_path):
    kernel.add_driver("mlx5_vfio_pci", "mlx5_vfio_pci")
    bus = kernel.bus
    bus.bind(bus.function(CARD), "mlx5_vfio_pci")
    kernel.written.clear()
    attach(SPEC).close()
    attach(PciDevice(id="a", source=CARD, destination=OTHER_CARD, driver="mlx5_vfio_pci")).close()
    assert kernel.written == []
    assert claims(tmp_path) == []


def test_variant_driver_that_is_named_takes_the_place_of_another(attach, kernel):
    kernel.add_driver("mlx5_vfio_pci", "mlx5_vfio_pci")
    bus = kernel.bus
    bus.bind(bus.function(CARD), "vfio-pci")
    devices = attach(PciDevice(id="a", source=CARD, destination=OTHER_CARD, driver="mlx5_vfio_pci"))
    assert kernel.state(CARD)[0] == "mlx5_vfio_pci"
    devices.close()
    assert kernel.state(CARD) == ("vfio-pci", "vfio-pci")


def test_source_alone_fits_a_device_that_does_not_migrate(attach, kernel):
    alone = PciDevice(id="a", source=CARD)
    assert attach(alone, side=Side.DESTINATION).options() == {}
    attach(alone, able=PLAIN).close()
    with pytest.raises(
        PrerequisiteMissing, match="can migrate, so the destination needs a function"
    ):
        attach(alone)
    assert kernel.state(CARD) == ("nic", "(null)")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (PciDevice(id="a", source="0000:77:00.0"), "^a: no PCI device 0000:77:00.0"),
        (PciDevice(id="a", source=CARD, driver="nic"), "^a: nic is not a VFIO driver"),
        (PciDevice(id="a", source=CARD, driver="x"), "^a: PCI driver x is not loaded"),
        (PciDevice(id="a", source=BRIDGE), f"^a: {BRIDGE} shares IOMMU group 14 with {DISK}"),
        (PciDevice(id="a", source=DISK, destination=BRIDGE), "each need a group of their own"),
    ],
)
def test_what_cannot_be_had_is_one_line_and_nothing_changed(attach, kernel, spec, why):
    with pytest.raises(PrerequisiteMissing, match=why):
        attach(spec)
    assert kernel.written == []


def test_device_that_this_machine_uses_is_refused(attach, kernel):
    (kernel.devices / CARD / "net/eth0").mkdir(parents=True)
    (kernel.devices / CARD / "net/eth0/flags").write_text("0x1003\n")
    with pytest.raises(
        PrerequisiteMissing, match=f"^nic0: {CARD} is in use: network interface eth0"
    ):
        attach(SPEC)
    assert kernel.written == []


def test_guest_beyond_the_memlock_limit_is_refused(attach, kernel, monkeypatch):
    monkeypatch.setattr(memlock, "limit", lambda *_: 8 << 20)
    with pytest.raises(PrerequisiteMissing, match=r"^the memlock limit of 8 MiB is too low"):
        attach(SPEC, ram_bytes=64 << 20)
    assert kernel.written == []


def test_driver_that_refuses_leaves_the_device_as_it_was(attach, kernel, tmp_path):
    real, refused = kernel.write, []

    def write(path, text):
        if path.name == "bind" and path.parent.name == "vfio-pci":
            refused.append(text)
            raise OSError(errno.EINVAL, "Invalid argument")
        real(path, text)

    kernel.write = write
    with pytest.raises(PrerequisiteMissing, match=f"cannot bind {CARD} to vfio-pci"):
        attach(SPEC)
    assert refused == [CARD]
    assert kernel.state(CARD) == ("nic", "(null)")
    assert claims(tmp_path) == []


def test_second_device_that_fails_gives_the_first_back(attach, kernel, tmp_path):
    with pytest.raises(PrerequisiteMissing, match=r"^b: no PCI device"):
        attach(SPEC, PciDevice(id="b", source="0000:77:00.0"))
    assert kernel.state(CARD) == ("nic", "(null)")
    assert claims(tmp_path) == []


def test_device_that_cannot_be_given_back_stays_written_down(attach, kernel, tmp_path):
    other = PciDevice(id="b", source=OTHER_CARD, destination=CARD)
    devices = attach(SPEC, other)
    kernel.refusals["unbind"] = errno.EBUSY
    with pytest.raises(HarnessError, match=f"cannot give {OTHER_CARD} back to nic"):
        devices.close()
    assert claims(tmp_path) == [f"{CARD}.json", f"{OTHER_CARD}.json"]


KILLED = """
import os, signal, sys
from pathlib import Path
from harness.devices.ledger import Ledger
Ledger("pci", Path(sys.argv[1])).claim(sys.argv[2], {"driver": "nic", "override": ""})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed(kernel, tmp_path):
    """A run that was killed with the card in its hands."""
    kernel.bus.bind(kernel.bus.function(CARD), "vfio-pci")
    subprocess.run([sys.executable, "-c", KILLED, tmp_path / "run", CARD], check=False)
    assert claims(tmp_path) == [f"{CARD}.json"]


def test_what_a_killed_run_left_is_given_back_and_what_a_living_one_has_is_not(
    killed, attach, kernel, tmp_path
):
    living = attach(PciDevice(id="b", source=OTHER_CARD, destination=CARD))
    assert kernel.state(CARD) == ("nic", "(null)")
    attach()
    assert kernel.state(OTHER_CARD)[0] == "vfio-pci"
    assert claims(tmp_path) == [f"{OTHER_CARD}.json"]
    living.close()


def test_device_of_a_killed_run_that_is_in_use_is_reported(
    killed, kernel, ledger, tmp_path, monkeypatch
):
    monkeypatch.setattr("harness.devices.pci._RELEASE_TIMEOUT_S", 0.1)
    with (kernel.dev / "vfio/12").open():
        assert in_use.openers(kernel.dev / "vfio/12")
        with pytest.raises(HarnessError, match=rf"{CARD}, left by .*: end pid {os.getpid()} "):
            give_back_abandoned(kernel.bus, ledger)
    assert kernel.state(CARD)[0] == "vfio-pci"
    assert give_back_abandoned(kernel.bus, ledger) == [CARD]
    assert kernel.state(CARD) == ("nic", "(null)")


def test_unplugged_device_of_a_killed_run_is_struck_out(killed, kernel, ledger, tmp_path):
    (kernel.devices / CARD).rename(tmp_path / "gone")
    assert give_back_abandoned(kernel.bus, ledger) == [CARD]
    assert claims(tmp_path) == []


def test_device_of_another_run_that_lives_is_refused(attach, ledger, kernel):
    ledger.claim(CARD, {"driver": "nic", "override": ""})
    with pytest.raises(PrerequisiteMissing, match=f"^nic0: {CARD} is in use by another run"):
        attach(SPEC)
    assert kernel.state(CARD) == ("nic", "(null)")
