"""An option of vfio-pci, as QEMU will read it."""

from harness.devices.vfio_pci import device_option
from harness.scenario import MdevDevice, OnOffAuto


def option(added, slot=2, **fields):
    name, value = device_option(MdevDevice(id="a", **fields), slot, added)
    assert name == "-device"
    return value


def test_properties_come_in_order_with_booleans_as_qemu_writes_them():
    assert option({"x-one": True, "x-two": False, "x-size": 3}) == (
        "vfio-pci,id=a,addr=0x2,enable-migration=on,migration-events=on,"
        "x-one=on,x-two=off,x-size=3,x-migration-multifd-transfer=on"
    )


def test_properties_of_the_scenario_override_those_of_the_kind():
    value = option({"x-one": True}, slot=17, properties={"x-one": False, "migration-events": "off"})
    assert value.count("x-one=") == 1
    assert ",addr=0x11," in value
    assert ",x-one=off," in value
    assert ",migration-events=off," in value


def test_transfer_that_is_not_set_is_left_to_qemu():
    value = option({}, multifd_transfer=None, enable_migration=OnOffAuto.AUTO)
    assert "multifd-transfer" not in value
    assert ",enable-migration=auto," in value


def test_comma_in_a_value_is_doubled():
    assert ",sysfsdev=/a,,b," in option({"sysfsdev": "/a,b"})
