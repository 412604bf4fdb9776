"""PCI addresses: completed as sysfs writes them, or refused."""

import pytest

from harness.pci_address import full_address, repeated


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
    with pytest.raises(ValueError, match=r"is no PCI address, which is like 0000:3b:00\.2"):
        full_address(text)


def test_address_that_is_there_twice():
    assert repeated(["a", "b", "c", "b", "a"]) == "b"
    assert repeated(["a", "b"]) == ""
