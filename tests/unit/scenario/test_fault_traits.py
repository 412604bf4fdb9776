"""What each kind of fault says of itself, and that none leaves anything out."""

from typing import Any, get_args

import pytest

from harness.scenario import fault_plan
from harness.scenario.fault_plan import Fault, _Fault
from harness.scenario.fault_traits import Changing, Closing, Holding, Plain, Traits

KINDS = get_args(Fault)


@pytest.mark.parametrize(
    ("base", "names"),
    [
        (Changing, "Extend Flip Inject Rewrite Truncate"),
        (Closing, "CloseChannel CutStream RefuseConnection"),
        (Holding, "Delay Hold"),
        (
            Plain,
            "Drop Duplicate Hello HoldConnections MoveToChannel Pace Rechunk Reorder StallMain",
        ),
    ],
)
def test_kinds_say_what_they_do(base, names):
    """Of those that are listed here; a new one need not be."""
    assert {kind.__name__ for kind in KINDS if issubclass(kind, base)} >= set(names.split())


def test_each_kind_says_it_by_one_base():
    for kind in KINDS:
        assert issubclass(kind, Traits)
        assert len({Plain, Changing, Closing, Holding} & set(kind.__mro__)) == 1


@pytest.mark.parametrize("left_out", ["changes_data", "closes_channels", "holds_packets"])
def test_kind_that_leaves_one_out_is_refused_when_its_class_is_made(left_out):
    said = {"changes_data": True, "closes_channels": False, "holds_packets": False}
    del said[left_out]
    make: Any = type(_Fault)
    body = {"__module__": __name__, "__qualname__": "Made", **said}
    with pytest.raises(TypeError, match=f"^Made must set {left_out} to True or False$"):
        make("Made", (_Fault,), body, frozen=True, kw_only=True, tag="made")


def test_kind_may_do_several_things():
    class Both(_Fault, frozen=True, kw_only=True, tag="both"):
        changes_data = closes_channels = True
        holds_packets = False

    assert (Both.changes_data, Both.closes_channels, Both.holds_packets) == (True, True, False)


def test_traits_are_no_settings():
    assert fault_plan.Drop.__struct_fields__ == ("select",)
    assert fault_plan.Flip().changes_data
