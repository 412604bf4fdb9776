"""Each number of a scenario has a range; what is at its ends is accepted, the next is not."""

from collections.abc import Iterator
from typing import cast

import msgspec
import pytest
from msgspec import inspect

from harness import scenario
from harness.scenario import action_plan, fault_plan, guest_plan, ranges

FREE = {"Scenario.seed", "EmulatedDevice.seed"}
"""An older saved run may have one below 0: refused before a run, not when it is read."""


def structs() -> Iterator[type[msgspec.Struct]]:
    for module in (scenario, fault_plan, action_plan, guest_plan):
        for each in vars(module).values():
            if isinstance(each, type) and issubclass(each, msgspec.Struct):
                yield each


def numbers(of_type: inspect.Type) -> Iterator[inspect.IntType | inspect.FloatType]:
    match of_type:
        case inspect.IntType() | inspect.FloatType():
            yield of_type
        case inspect.Metadata():
            yield from numbers(of_type.type)
        case inspect.UnionType():
            for each in of_type.types:
                yield from numbers(each)
        case inspect.VarTupleType():
            yield from numbers(of_type.item_type)


FIELDS = {
    f"{struct.__name__}.{field.name}": found
    for struct in structs()
    for field in cast(inspect.StructType, inspect.type_info(struct)).fields
    for found in numbers(field.type)
}


def test_fields_are_found():
    """Without them the test below would pass for nothing."""
    assert len(FIELDS) > 50
    assert {"Scenario.channels", "Select.idx", "Flip.offset", "Guest.rounds"} <= FIELDS.keys()


@pytest.mark.parametrize("name", sorted(FIELDS.keys() - FREE))
def test_number_has_both_ends(name):
    found = FIELDS[name]
    assert found.le is not None
    assert found.ge is not None or found.gt is not None


@pytest.mark.parametrize(
    ("of_type", "good", "bad"),
    [
        (ranges.Channels, (1, 255), (0, 256)),
        (ranges.Channel, (0, 254), (-1, 255)),
        (ranges.Uint32, (0, 0xFFFFFFFF), (-1, 0x100000000)),
        (ranges.Value, (0, (1 << 63) - 1), (-1, 1 << 63)),
        (ranges.Size, (0, 1 << 40), (-1, (1 << 40) + 1, 1 << 63, 1 << 64)),
        (ranges.Call, (1, 0x7FFFF000), (0, 0x7FFFF001)),
        (ranges.Calls, ((), (1,) * 4096), ((1,) * 4097, (0,))),
        (ranges.Bar, (4096, 1 << 29), (2048, 1 << 30, 1 << 40)),
        (ranges.RamMib, (16, 1 << 20), (15, 10**9)),
        (ranges.Delay, (0.0, 3600.0), (-0.001, 3601.0)),
        (ranges.Deadline, (0.01, 86_400.0), (0.0, 1e-9, 86_401.0)),
        (ranges.Rate, (1.0, 1e15), (0.0, -1.0, 1e-9)),
    ],
)
def test_ends_of_a_range(of_type, good, bad):
    for value in good:
        assert msgspec.convert(value, of_type) == value
    for value in bad:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(value, of_type)
