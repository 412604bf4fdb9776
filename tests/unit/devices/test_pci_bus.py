"""PCI functions: what is read of them, what is refused, and that they come back as they were."""

import errno

import pytest

from harness.errors import HarnessError, PrerequisiteMissing
from tests.unit.devices.pci_sysfs import BRIDGE, CARD, DISK, OTHER_CARD, FakePci


@pytest.fixture
def kernel(tmp_path):
    return FakePci(tmp_path)


def test_function_has_driver_override_and_group(kernel):
    found = kernel.bus.function(CARD)
    assert (found.kind, found.driver, found.override, found.group) == ("8086:10d3", "nic", "", "12")
    assert [each.address for each in kernel.bus.functions()] == [CARD, OTHER_CARD, BRIDGE, DISK]
    assert [each.address for each in kernel.bus.members("14")] == [BRIDGE, DISK]


def test_function_that_is_not_there_is_reported(kernel):
    with pytest.raises(PrerequisiteMissing, match=r"^no PCI device 0000:77:00\.0 .*lspci"):
        kernel.bus.function("0000:77:00.0")


def test_drivers_of_vfio_are_those_that_stand_on_its_core(kernel):
    kernel.add_driver("mlx5_vfio_pci", "mlx5_vfio_pci")
    kernel.add_driver("vendor", "vendor_vgpu")
    (kernel.sysfs / "module/vfio_pci_core/holders/vendor_vgpu").mkdir()
    assert kernel.bus.vfio_drivers() == ["mlx5_vfio_pci", "vendor", "vfio-pci"]


@pytest.mark.parametrize(
    ("driver", "why"),
    [
        ("mlx5_vfio_pci", "^PCI driver mlx5_vfio_pci is not loaded: run `modprobe mlx5_vfio_pci`"),
        ("../drivers/nic", "^PCI driver .* is not loaded"),
        ("nic", "^nic is not a VFIO driver; loaded VFIO drivers: vfio-pci"),
    ],
)
def test_driver_that_is_unknown_or_none_of_vfio_is_refused(kernel, driver, why):
    kernel.bus.require_driver("vfio-pci")
    with pytest.raises(PrerequisiteMissing, match=why):
        kernel.bus.require_driver(driver)


def test_function_without_iommu_group_is_refused(kernel):
    kernel.add("0000:00:12.0")
    with pytest.raises(PrerequisiteMissing, match="is in no IOMMU group: boot with intel_iommu=on"):
        kernel.bus.require_group(kernel.bus.function("0000:00:12.0"))


def test_group_shared_with_a_device_in_use_is_refused(kernel):
    with pytest.raises(
        PrerequisiteMissing, match=rf"shares IOMMU group 14 with {DISK}, which is bound to ahci"
    ):
        kernel.bus.require_group(kernel.bus.function(BRIDGE))
    kernel.write(kernel.devices / DISK / "driver" / "unbind", DISK)
    kernel.bus.require_group(kernel.bus.function(BRIDGE))
    kernel.bus.bind(kernel.bus.function(DISK), "vfio-pci")
    kernel.bus.require_group(kernel.bus.function(BRIDGE))


@pytest.mark.parametrize("before", ["nic", ""])
def test_bound_and_given_back_as_it_was(kernel, before):
    if not before:
        kernel.write(kernel.devices / CARD / "driver" / "unbind", CARD)
    bus = kernel.bus
    found = bus.function(CARD)
    bus.bind(found, "vfio-pci")
    assert kernel.state(CARD) == ("vfio-pci", "vfio-pci")
    bus.restore(CARD, found.driver, found.override)
    bus.restore(CARD, found.driver, found.override)
    assert kernel.state(CARD) == (before, "(null)")


def test_override_of_another_driver_comes_back(kernel):
    (kernel.devices / CARD / "driver_override").write_text("nic\n")
    bus = kernel.bus
    found = bus.function(CARD)
    bus.bind(found, "vfio-pci")
    bus.restore(CARD, found.driver, found.override)
    assert kernel.state(CARD) == ("nic", "nic")


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.EACCES, "permission denied: run as root"),
        (errno.EINVAL, "I"),
    ],
)
def test_refusal_of_the_kernel_is_reported(kernel, number, why):
    kernel.refusals["bind"] = number
    with pytest.raises(PrerequisiteMissing, match=f"^cannot bind {CARD} to vfio-pci: {why}"):
        kernel.bus.bind(kernel.bus.function(CARD), "vfio-pci")


def test_device_that_cannot_be_given_back_is_reported_with_what_to_do(kernel):
    kernel.bus.bind(kernel.bus.function(CARD), "vfio-pci")
    kernel.refusals["bind"] = errno.ENODEV
    with pytest.raises(
        HarnessError, match=rf"^cannot give {CARD} back to nic: .*/drivers/nic/bind"
    ):
        kernel.bus.restore(CARD, "nic", "")


def test_device_that_was_unplugged_needs_no_giving_back(kernel):
    kernel.bus.restore("0000:77:00.0", "nic", "")


def test_own_device_file_is_there_where_the_kernel_has_iommufd(kernel):
    found = kernel.bus.function(CARD)
    (kernel.devices / CARD / "vfio-dev/vfio3").mkdir(parents=True)
    assert kernel.bus.device_file(found) is None
    (kernel.dev / "vfio/devices").mkdir()
    (kernel.dev / "vfio/devices/vfio3").touch()
    assert kernel.bus.device_file(found) is None
    (kernel.dev / "iommu").touch()
    assert kernel.bus.device_file(found) == kernel.dev / "vfio/devices/vfio3"
    assert kernel.bus.group_file(found) == kernel.dev / "vfio/12"
