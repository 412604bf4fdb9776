"""What each kind of device says of itself."""

import msgspec
import pytest

from harness.scenario import (
    KINDS,
    Abilities,
    EmulatedDevice,
    IvshmemDevice,
    MdevDevice,
    PciDevice,
    devices,
)

EMULATED = EmulatedDevice(id="a", size=100)
MDEV = MdevDevice(id="a")
PCI = PciDevice(id="a", source="3b:00.2", destination="3b:00.3")
VFIO_USER = devices.VfioUserDevice(id="a", size=100)
IVSHMEM = IvshmemDevice(id="a")
EXAMPLES = (
    EMULATED,
    MDEV,
    PCI,
    IVSHMEM,
    VFIO_USER,
)
"""One of each kind."""
each = pytest.mark.parametrize("device", EXAMPLES, ids=lambda device: device.kind)


def test_each_kind_has_an_example():
    assert {type(device) for device in EXAMPLES} == set(devices.KINDS)


def test_kind_is_the_tag():
    assert [device.kind for device in (EMULATED, MDEV, PCI)] == ["emulated", "mdev", "pci"]
    assert len({kind.__struct_config__.tag for kind in KINDS}) == len(KINDS)


@each
def test_forms_begin_with_the_kind(device):
    assert {form.partition(":")[0] for form in device.forms} == {device.kind}


@each
def test_what_can_be_seen_into_is_known_beforehand(device):
    known = (device.abilities, device.total_size, device.mig_data_size)
    assert not device.is_observable or None not in known


@pytest.mark.parametrize("device", [MDEV, PCI], ids=lambda device: device.kind)
def test_of_kernel_devices_nothing_is_known_beforehand(device):
    assert device.is_kernel
    assert not device.is_observable
    assert device.abilities is device.total_size is device.mig_data_size is None


@each
def test_copy_is_of_the_same_kind_and_has_its_own_id(device):
    copy = device.copy("b", 3)
    assert type(copy) is type(device)
    assert copy.id == "b"


@pytest.mark.parametrize(("device", "own"), [(EMULATED, {"seed": 4}), (MDEV, {}), (PCI, {})])
def test_copy_differs_in_id_and_in_nothing_that_it_shares_with_its_model(device, own):
    assert device.copy("b", 3) == msgspec.structs.replace(device, id="b", **own)


@each
def test_state_that_is_not_given_stays(device):
    assert device.with_state(None, None) == device


def test_emulated_device_takes_state_of_any_size_and_seed():
    changed = EMULATED.with_state(7, 8)
    assert (changed.size, changed.seed) == (7, 8)
    assert EMULATED.with_state(None, 8).size == 100


@pytest.mark.parametrize("device", [MDEV, PCI], ids=lambda device: device.kind)
def test_state_of_kernel_devices_is_their_own(device):
    assert device.with_state(None, 8) == device
    with pytest.raises(ValueError, match=r"^a: --size is for emulated devices"):
        device.with_state(7, None)


def test_emulated_device_answers_what_it_is_set_to():
    device = EmulatedDevice(id="a", size=7, pre_copy=True, precopy_dirty_bytes=3, p2p=False)
    assert device.abilities == Abilities(p2p=False, pre_copy=True, dma_logging=True)
    assert (device.total_size, device.precopy_size, device.mig_data_size) == (10, 3, 10)
    assert msgspec.structs.replace(device, reported_size=5).mig_data_size == 5


@pytest.mark.parametrize(("name", "ports"), [("mtty-1", 1), ("mtty-2", 2), ("i915-GVTg_V5_4", 0)])
def test_serial_ports_are_those_of_the_cards(name, ports):
    assert MdevDevice(id="a", type=name).serial_ports == ports
    assert EMULATED.serial_ports == PCI.serial_ports == 0


def test_only_pci_functions_are_taken_from_the_machine():
    assert EMULATED.addresses == MDEV.addresses == ()
    assert PCI.addresses == ("0000:3b:00.2", "0000:3b:00.3")
