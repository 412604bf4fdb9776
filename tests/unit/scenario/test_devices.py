"""What each kind of device says of itself."""

from typing import Any

import msgspec
import pytest

from harness.scenario import KINDS, Abilities, EmulatedDevice, MdevDevice, PciDevice
from harness.scenario.devices import DeviceSpec

EXAMPLES = (
    EmulatedDevice(id="a", size=100),
    MdevDevice(id="a"),
    PciDevice(id="a", source="3b:00.2", destination="3b:00.3"),
)
each = pytest.mark.parametrize("device", EXAMPLES, ids=lambda device: device.kind)


@pytest.mark.parametrize("missing", ["is_observable", "is_kernel", "forms"])
def test_kind_that_leaves_something_out_is_refused(missing):
    said = {"is_observable": True, "is_kernel": False, "forms": ("x",)}
    del said[missing]
    make: Any = type(DeviceSpec)
    with pytest.raises(TypeError, match=f"^Odd must set {missing}$"):
        make("Odd", (DeviceSpec,), said, frozen=True, kw_only=True, tag="odd")


def test_kind_is_the_tag():
    assert [device.kind for device in EXAMPLES] == ["emulated", "mdev", "pci"]
    assert len({kind.__struct_config__.tag for kind in KINDS}) == len(KINDS)


@each
def test_forms_begin_with_the_kind(device):
    assert {form.partition(":")[0] for form in device.forms} == {device.kind}


@each
def test_only_what_can_be_seen_into_is_known_beforehand(device):
    known = (device.abilities, device.total_size, device.mig_data_size)
    assert [value is not None for value in known] == [device.is_observable] * 3
    assert device.is_observable is not device.is_kernel


@each
def test_copy_differs_in_id_and_in_nothing_that_it_shares_with_its_model(device):
    copy = device.copy("b", 3)
    assert copy.id == "b"
    assert msgspec.structs.replace(copy, id="a") == (
        msgspec.structs.replace(device, seed=4) if device.is_observable else device
    )


@each
def test_state_of_a_given_size_is_only_for_those_whose_state_the_harness_makes(device):
    assert device.with_state(None, None) == device
    if device.is_observable:
        changed = device.with_state(7, 8)
        assert (changed.size, changed.seed) == (7, 8)
        assert device.with_state(None, 8).size == 100
        return
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
    assert EXAMPLES[0].serial_ports == EXAMPLES[2].serial_ports == 0


def test_only_pci_functions_are_taken_from_the_machine():
    assert [device.addresses for device in EXAMPLES] == [(), (), ("0000:3b:00.2", "0000:3b:00.3")]


@pytest.mark.parametrize(
    ("abilities", "words"),
    [
        (Abilities(), "STOP_COPY, P2P, PRE_COPY"),
        (Abilities(pre_copy=False, iommu_tracking=True), "STOP_COPY, P2P, IOMMU_TRACKING"),
        (Abilities(stop_copy=False), "does not migrate"),
    ],
)
def test_abilities_in_words(abilities, words):
    assert str(abilities) == words
