"""PCI addresses: completed as sysfs writes them, or refused, also in a scenario."""

import re

import msgspec
import pytest

from harness.scenario import PciDevice, Scenario, from_json, to_json
from harness.scenario.pci_address import full_address, repeated


@pytest.mark.parametrize(
    ("text", "address"),
    [("3b:00.2", "0000:3b:00.2"), ("0001:3B:1F.7", "0001:3b:1f.7"), ("10000:e1:00.0", None)],
)
def test_address_is_completed(text, address):
    assert full_address(text) == (address or text)


@pytest.mark.parametrize(
    "text", ["", "3b:00", "3b:00.8", "3b:20.0", "eth0", "0000:3b:00.2/..", "٣b:00.1"]
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match=r"is not a PCI address like 0000:3b:00\.2"):
        full_address(text)


def test_address_that_is_there_twice():
    assert repeated(["a", "b", "c", "b", "a"]) == "b"
    assert repeated(["a", "b"]) == ""


PCI = PciDevice(id="n", source="0000:3b:00.2", destination="3b:00.3", driver="mlx5_vfio_pci")


def test_pci_functions_round_trip_and_are_written_as_sysfs_does():
    scenario = Scenario(name="x", devices=(PCI,))
    assert from_json(to_json(scenario)) == scenario
    assert PCI.addresses == ("0000:3b:00.2", "0000:3b:00.3")
    text = b'{"name": "x", "devices": [{"kind": "pci", "id": "a", "source": "3b:00.2"}]}'
    assert from_json(text).devices == (PciDevice(id="a", source="3b:00.2"),)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"source": ""}, "n: source is empty; it is a PCI address"),
        ({"source": "eth0"}, "n: 'eth0' is not a PCI address like 0000:3b:00.2"),
        ({"destination": "3b:00.9"}, "n: '3b:00.9' is not a PCI address"),
        ({"destination": "3B:00.2"}, "device 0000:3b:00.2 is there twice; only one QEMU"),
        ({"driver": "../nic"}, "n: driver is a name, not a path"),
    ],
)
def test_pci_functions_that_make_no_sense_are_refused(fields, why):
    with pytest.raises(ValueError, match=f"^{re.escape(why)}"):
        Scenario(name="x", devices=(msgspec.structs.replace(PCI, **fields),))


def test_pci_function_goes_to_one_device():
    with pytest.raises(ValueError, match=r"^device 0000:3b:00\.3 is there twice"):
        Scenario(name="x", devices=(PCI, PciDevice(id="m", source="3b:00.3")))
