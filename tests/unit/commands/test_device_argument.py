"""--device: a device in one word."""

import pytest

from harness.commands import device_argument
from harness.errors import UsageError
from harness.scenario import EmulatedDevice, MdevDevice, PciDevice


def test_each_word_is_a_device_with_a_name_of_its_own():
    assert device_argument.parse(["mdev", "mdev:mtty-2", "emulated"]) == (
        MdevDevice(id="vfio0"),
        MdevDevice(id="vfio1", type="mtty-2"),
        EmulatedDevice(id="vfio2", seed=3),
    )


def test_pci_functions_are_those_of_source_and_destination():
    assert device_argument.parse(["pci:0000:3b:00.2,3b:00.3", "pci:3c:00.0"]) == (
        PciDevice(id="vfio0", source="0000:3b:00.2", destination="3b:00.3"),
        PciDevice(id="vfio1", source="3c:00.0"),
    )


def test_nothing_is_no_device():
    assert device_argument.parse([]) == ()


@pytest.mark.parametrize(
    "text", ["", "tape", "mdev:a/b", "emulated:1", "mtty-1", ":mdev", "pci", "pci:"]
)
def test_what_is_no_device_is_refused_with_the_forms_that_there_are(text):
    with pytest.raises(UsageError, match=f"^--device {text}: not a device; one of: emulated, mdev"):
        device_argument.parse([text])


@pytest.mark.parametrize(("text", "meant"), [("emulatd", "emulated"), ("mdv:mtty-1", "mdev")])
def test_word_that_is_nearly_a_kind(text, meant):
    with pytest.raises(UsageError, match=rf"^--device {text}: .* did you mean {meant}\?"):
        device_argument.parse([text])
