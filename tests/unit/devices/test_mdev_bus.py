"""mdev types and instances: what is there, and each way in which the kernel refuses."""

import errno

import pytest

from harness.devices.mdev_bus import MdevBus
from harness.errors import HarnessError, PrerequisiteMissing
from tests.unit.devices.mdev_sysfs import FakeKernel

UUID = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"


@pytest.fixture
def kernel(tmp_path):
    return FakeKernel(tmp_path)


def test_types_have_parent_and_instances_left(kernel):
    found = [(kind.parent, kind.name, kind.available) for kind in kernel.bus.types()]
    assert found == [("mtty", "mtty-1", 4), ("mtty", "mtty-2", 2)]


def test_instance_is_made_and_removed(kernel):
    bus = kernel.bus
    bus.create(bus.find("mtty-2"), UUID)
    assert bus.device(UUID) == kernel.devices / UUID
    assert bus.group(UUID) == kernel.dev / "vfio" / "1"
    assert [kind.available for kind in bus.types()] == [2, 1]
    bus.remove(UUID)
    assert not kernel.uuids


def test_removing_what_is_gone_is_nothing(kernel):
    kernel.bus.remove(UUID)
    assert not kernel.uuids


def test_without_a_module_it_is_named(tmp_path):
    with pytest.raises(PrerequisiteMissing, match="modprobe mtty` as root, or run this in the rig"):
        MdevBus(tmp_path).find("mtty-1")


@pytest.mark.parametrize("asked", [("mtty-3", ""), ("mtty-1", "0000:00:02.0")])
def test_unknown_type_or_parent_gets_those_that_are_there(kernel, asked):
    with pytest.raises(
        PrerequisiteMissing, match=r"available types: mtty-1 of mtty, mtty-2 of mtty"
    ):
        kernel.bus.find(*asked)


def test_parent_with_the_most_instances_left_is_taken(kernel):
    other = kernel.sysfs / "class/mdev_bus/other/mdev_supported_types/mtty-1"
    other.mkdir(parents=True)
    (other / "device_api").write_text("vfio-pci\n")
    (other / "available_instances").write_text("5\n")
    assert kernel.bus.find("mtty-1").parent == "other"
    assert kernel.bus.find("mtty-1", "mtty").parent == "mtty"


def test_type_that_is_no_pci_device_is_refused(kernel):
    (kernel.types / "mtty-1" / "device_api").write_text("vfio-ccw\n")
    with pytest.raises(PrerequisiteMissing, match="its device_api is vfio-ccw"):
        kernel.bus.find("mtty-1")


def test_full_type_is_reported(tmp_path):
    bus = FakeKernel(tmp_path, ports=1).bus
    with pytest.raises(PrerequisiteMissing, match="mtty-2 of mtty has no instance left: end"):
        bus.create(bus.find("mtty-2"), UUID)


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EACCES, "permission denied: run as root"), (errno.EINVAL, "Invalid argument")],
)
def test_other_refusals_say_why(kernel, number, words):
    kernel.refusal = number
    with pytest.raises(PrerequisiteMissing, match=words):
        kernel.bus.create(kernel.bus.find("mtty-1"), UUID)


def test_instance_whose_group_cannot_be_opened_is_not_left(kernel):
    bus = MdevBus(kernel.sysfs, kernel.dev / "elsewhere", kernel.write)
    with pytest.raises(PrerequisiteMissing, match=r"cannot open .*vfio/1"):
        bus.create(bus.find("mtty-1"), UUID)
    assert not kernel.uuids


def test_instance_that_stays_is_reported_with_the_way_to_remove_it(kernel):
    bus = kernel.bus
    bus.create(bus.find("mtty-1"), UUID)
    kernel.error_on_remove = errno.EBUSY
    with pytest.raises(
        HarnessError, match=f"mdev {UUID} was not removed: .*echo 1 > .*{UUID}/remove"
    ):
        bus.remove(UUID)
