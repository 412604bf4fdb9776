"""PCI passthrough: each row shows what is there, and is never missing."""

import gzip
import platform

import pytest

from harness.devices import memlock
from harness.doctor import passthrough
from harness.doctor.check import State
from harness.errors import PrerequisiteMissing
from harness.scenario import Abilities
from tests.unit.devices.pci_sysfs import CARD, OTHER_CARD, FakePci


@pytest.fixture
def kernel(tmp_path):
    return FakePci(tmp_path)


def test_nothing_of_it_is_needed_for_the_main_job():
    checks = list(passthrough.all_of())
    assert State.MISSING not in {check.state for check in checks}
    assert len({check.what for check in checks}) == len(checks) == 5


def test_iommu_with_its_groups(kernel):
    assert passthrough.iommu(kernel.bus).state is State.OPTIONAL
    (kernel.sysfs / "class/iommu/dmar0").mkdir(parents=True)
    check = passthrough.iommu(kernel.bus)
    assert (check.state, check.found) == (State.OK, "dmar0; 3 groups")


def test_drivers_that_are_loaded_and_those_that_could_be(kernel, tmp_path):
    modules = tmp_path / "root/lib/modules" / platform.release()
    modules.mkdir(parents=True)
    (modules / "modules.dep").write_text(
        "kernel/drivers/vfio/pci/vfio-pci.ko.xz: kernel/drivers/vfio/vfio.ko.xz\n"
        "kernel/drivers/vfio/pci/vfio-pci-core.ko.xz:\n"
        "kernel/drivers/vfio/pci/mlx5/mlx5-vfio-pci.ko.xz: kernel/x.ko\n"
        "kernel/drivers/net/ethernet/x.ko: kernel/drivers/vfio/pci/vfio-pci.ko.xz\n"
    )
    check = passthrough.drivers(kernel.bus, tmp_path / "root")
    assert (check.state, check.found) == (
        State.OK,
        "loaded: vfio-pci; not loaded: mlx5_vfio_pci",
    )
    (kernel.drivers / "vfio-pci").rename(tmp_path / "gone")
    check = passthrough.drivers(kernel.bus, tmp_path / "root")
    assert check.state is State.OPTIONAL
    assert check.fix.startswith("run as root: modprobe vfio-pci, or use the rig")
    assert passthrough.drivers(kernel.bus, tmp_path).found == "loaded: none"


def test_iommufd_with_the_devices_that_have_files(kernel):
    (kernel.dev / "iommu").touch()
    (kernel.dev / "vfio/devices").mkdir()
    (kernel.dev / "vfio/devices/vfio0").touch()
    check = passthrough.iommufd(kernel.bus)
    assert check.state is State.OK
    assert check.found.endswith("devices with a device file: 1")


@pytest.mark.parametrize("place", ["proc/config.gz", "boot/config-{}", "lib/modules/{}/config"])
@pytest.mark.parametrize(
    ("line", "words"),
    [("CONFIG_IOMMUFD=m", "; CONFIG_IOMMUFD=m"), ("CONFIG_VFIO=m", "; CONFIG_IOMMUFD is not set")],
)
def test_kernel_without_iommufd_is_reported_with_its_setting(kernel, tmp_path, place, line, words):
    path = tmp_path / place.format(platform.release())
    path.parent.mkdir(parents=True)
    text = f"# kernel\n{line}\n".encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    check = passthrough.iommufd(kernel.bus, tmp_path)
    assert check.state is State.OPTIONAL
    assert check.found.endswith(words)


def test_kernel_that_shows_no_configuration(kernel, tmp_path):
    assert passthrough.iommufd(kernel.bus, tmp_path).found.endswith("by the IOMMU")


def test_devices_of_vfio_with_what_they_can_do(kernel):
    bus = kernel.bus
    assert passthrough.devices(bus).found.startswith("none bound; a run binds")
    for address in (CARD, OTHER_CARD):
        bus.bind(bus.function(address), "vfio-pci")

    def ask(_bus, function, _has_iommufd):
        if function.address == OTHER_CARD:
            raise PrerequisiteMissing("in use")
        return Abilities(stop_copy=True, p2p=True, pre_copy=False, dma_logging=False)

    check = passthrough.devices(bus, ask)
    assert check.state is State.OK
    assert check.found == (
        f"{CARD} (vfio-pci): STOP_COPY, P2P; {OTHER_CARD} (vfio-pci): not known: in use"
    )


def test_of_very_many_devices_some_are_asked(kernel):
    bus = kernel.bus
    for number in range(20):
        kernel.add(f"0000:20:{number:02x}.0", str(100 + number), "vfio-pci")

    def ask(_bus, _function, _has_iommufd):
        return Abilities(stop_copy=False, p2p=False, pre_copy=False, dma_logging=False)

    check = passthrough.devices(bus, ask)
    assert check.found.count("does not migrate") == 16
    assert check.found.endswith("; and 4 more")


@pytest.mark.parametrize(
    ("allowed", "state", "found"),
    [
        (None, State.OK, "no limit"),
        (8 << 20, State.OPTIONAL, "8 MiB, 128 needed"),
        (128 << 20, State.OK, "128 MiB, 128 needed"),
    ],
)
def test_memlock(monkeypatch, allowed, state, found):
    monkeypatch.setattr(memlock, "limit", lambda: allowed)
    check = passthrough.memlock()
    assert (check.state, check.found) == (state, found)
    assert bool(check.fix) is (state is State.OPTIONAL)
