"""An option of vfio-pci, as QEMU will read it."""

from harness.devices.vfio_pci import device_option


def test_properties_come_in_order_with_booleans_as_qemu_writes_them():
    assert device_option({"id": "a", "x-one": True, "x-two": False, "x-size": 3}) == [
        "-device",
        "vfio-pci,id=a,x-one=on,x-two=off,x-size=3",
    ]


def test_comma_in_a_value_is_doubled():
    assert device_option({"sysfsdev": "/a,b"})[1] == "vfio-pci,sysfsdev=/a,,b"
