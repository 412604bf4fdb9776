"""What differs at the destination: any field, in one place, and refused in one line if wrong."""

from typing import Any

import msgspec
import pytest

from harness.errors import UsageError
from harness.scenario import EmulatedDevice, MdevDevice, OnOffAuto, Scenario, from_json, to_json
from harness.scenario.sides import OF_BOTH

DEVICES = (EmulatedDevice(id="a", size=7, seed=3), EmulatedDevice(id="b"))


def scenario(there: dict[str, Any] | None = None, **fields: Any) -> Scenario:
    return Scenario(**{"name": "x", "devices": DEVICES, "destination": there, **fields})


def test_both_sides_are_alike_if_nothing_is_said():
    alike = scenario()
    assert alike.at_destination is alike
    assert alike.differing == ()


def test_every_field_of_a_side_may_differ():
    """A later field too: none is listed here."""
    own = set(Scenario.__struct_fields__) - OF_BOTH
    raw = msgspec.to_builtins(scenario())
    for name in own:
        assert scenario({name: raw[name]}).differing == (), name


@pytest.mark.parametrize(
    ("there", "differing"),
    [
        ({"channels": 2}, ("channels",)),
        ({"machine": "pc", "ram_mib": 128}, ("machine", "ram_mib")),
        ({"capabilities": {"xbzrle": False}}, ("capabilities.xbzrle",)),
        ({"parameters": {"max-bandwidth": 5}}, ("parameters.max-bandwidth",)),
        ({"devices": [{"id": "a"}]}, ("devices[1]",)),
        ({"devices": [{"id": "a", "bar_size": 4096}, {"id": "b"}]}, ("devices[0].bar_size",)),
        (
            {"devices": [{"id": "a"}, {"id": "b", "properties": {"x-no-mmap": True}}]},
            ("devices[1].properties.x-no-mmap",),
        ),
    ],
)
def test_what_differs_is_named_by_its_place(there, differing):
    assert scenario(there).differing == differing


def test_device_takes_what_it_does_not_say_from_that_of_the_same_id():
    there = {
        "devices": [
            {"id": "a", "multifd_transfer": "off"},
            {"id": "b"},
            {"id": "c", "kind": "mdev"},
        ]
    }
    first, second, third = scenario(there).at_destination.devices
    assert first == msgspec.structs.replace(DEVICES[0], multifd_transfer=OnOffAuto.OFF)
    assert second == DEVICES[1]
    assert third == MdevDevice(id="c")


def test_device_of_another_kind_takes_nothing():
    there = {"devices": [{"id": "a", "kind": "mdev", "type": "mtty-2"}, {"id": "b"}]}
    assert scenario(there).at_destination.devices[0] == MdevDevice(id="a", type="mtty-2")


def test_objects_are_merged_and_the_source_keeps_its_own():
    found = scenario({"parameters": {"b": 3, "c": 4}}, parameters={"a": 1, "b": 2})
    assert found.parameters == {"a": 1, "b": 2}
    assert found.at_destination.parameters == {"a": 1, "b": 3, "c": 4}


def test_it_comes_back_from_json():
    found = scenario({"channels": 2, "devices": [{"id": "a", "size": 1}]})
    again = from_json(to_json(found))
    assert again == found
    assert again.at_destination == found.at_destination


def test_options_change_both_sides_where_they_do_not_differ():
    other = msgspec.structs.replace(scenario({"channels": 2}), machine="pc", channels=9)
    assert other.at_destination.machine == "pc"
    assert other.at_destination.channels == 2


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ('{"chanels": 2}', "destination: unknown field chanels; did you mean channels?"),
        ('{"channels": 0}', "destination: channels is 0: Expected `int` >= 1"),
        ('{"faults": []}', "destination: faults cannot be given for one side"),
        ('{"qemu": "x"}', "destination: qemu cannot be given for one side: use qemu_dst"),
        ('{"tls": "psk"}', "destination: tls cannot be given for one side: use tls_mismatch"),
        ('{"devices": {}}', "destination: devices is not a list of objects, one for each device"),
        (
            '{"devices": [{"id": "c", "kind": "mdev"}]}',
            "destination: devices[0].id is 'c', not 'vfio0': the devices of both sides have the "
            "same places",
        ),
        (
            '{"devices": [{"id": "vfio0", "bar_sise": 1}]}',
            "destination: unknown field bar_sise in devices[0]; did you mean bar_size?",
        ),
        (
            '{"devices": [{"id": "vfio0", "vendor_capability": "0g"}]}',
            "destination: vfio0: vendor_capability is '0g', not up to 125 bytes in hexadecimal",
        ),
        ("3", "destination is 3: Expected `object | null`, got `int`"),
    ],
)
def test_what_is_wrong_is_one_line(there, words):
    with pytest.raises(UsageError) as refused:
        from_json(b'{"name": "x", "destination": %s}' % there.encode())
    assert str(refused.value) == f"scenario: not a scenario: {words}"


def test_migration_cannot_follow_one_to_other_hardware():
    back = scenario()
    assert scenario({"channels": 2}, then=(back,)).then == (back,)
    with pytest.raises(ValueError, match="no migration can follow"):
        scenario({"machine": "pc"}, then=(back,))
