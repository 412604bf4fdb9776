"""Interrupts of a device, as a scenario gives them."""

import pytest

from harness.scenario import EmulatedDevice, Scenario, from_json, to_json
from harness.scenario.dma import Dma
from harness.scenario.guest_plan import Guest, GuestKind
from harness.scenario.interrupts import (
    FIRST,
    MOST,
    PAGE,
    At,
    Fire,
    Interrupts,
    message_address,
    message_data,
)


def device(**fields) -> EmulatedDevice:
    own = {key: fields.pop(key) for key in ("pre_copy", "vendor_capability") if key in fields}
    return EmulatedDevice(id="a", interrupts=Interrupts(**fields), **own)


def test_they_come_back_from_json():
    wanted = Scenario(
        name="x",
        devices=(device(vectors=3, fires=(Fire(at=At.STOPPING, vector=2),), masked=True),),
    )
    assert from_json(to_json(wanted)) == wanted
    assert EmulatedDevice(id="a").interrupts == Interrupts()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"vectors": 2, "fires": (Fire(at=At.BEFORE, vector=2),)}, "a vector beyond its 2"),
        (
            {"vectors": 2, "fires": (Fire(at=At.BEFORE), Fire(at=At.RUNNING))},
            "interrupts.fires has a vector twice",
        ),
        ({"vectors": 1, "fires": (Fire(at=At.PRE_COPY),)}, "at pre_copy, but pre_copy is off"),
        ({"masked": True}, "interrupts.masked and arm_errno need vectors"),
        ({"arm_errno": 5}, "interrupts.masked and arm_errno need vectors"),
        ({"vectors": 1, "vendor_capability": "00" * 114}, "not up to 113 bytes"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        Scenario(name="x", devices=(device(**fields),))


def test_what_makes_sense():
    fires = (Fire(at=At.PRE_COPY), Fire(at=At.RUNNING, vector=1))
    spec = device(vectors=2, fires=fires, pre_copy=True, vendor_capability="00" * 113)
    assert Scenario(name="x", devices=(spec,)).devices == (spec,)


def test_guest_is_a_linux_and_there_is_one_migration():
    spec = EmulatedDevice(id="a", interrupts=Interrupts(vectors=1))
    assert Scenario(name="x", devices=(spec,), guest=Guest(), ram_mib=256).has_linux
    with pytest.raises(ValueError, match="interrupts need a guest that is a Linux, or none"):
        Scenario(name="x", devices=(spec,), guest=Guest(kind=GuestKind.FIRMWARE), ram_mib=256)
    masked = EmulatedDevice(id="a", interrupts=Interrupts(vectors=1, masked=True))
    with pytest.raises(ValueError, match="in place of a guest, and there is one"):
        Scenario(name="x", devices=(masked,), guest=Guest(), ram_mib=256)
    with pytest.raises(ValueError, match="then must be empty"):
        Scenario(name="x", devices=(spec,), then=(Scenario(name="y", devices=(spec,)),))


def test_each_side_has_its_own():
    fires = (Fire(at=At.BEFORE), Fire(at=At.STOPPING, vector=1), Fire(at=At.RUNNING, vector=2))
    spec = Interrupts(vectors=3, fires=fires, arm_errno=5)
    assert spec.on("source").fires == fires[:2]
    assert spec.on("source").arm_errno == 0
    assert spec.on("destination").fires == fires[2:]
    assert spec.on("destination").arm_errno == 5
    assert spec.fires_at(At.STOPPING) == (1,)


def test_no_two_words_share_a_page_and_none_is_in_the_way():
    pages = {message_address(index, vector) for index in range(29) for vector in range(MOST)}
    assert len(pages) == 29 * MOST
    assert min(pages) == FIRST
    assert max(pages) + PAGE <= Dma().at
    words = {message_data(index, vector) for index in range(29) for vector in range(MOST)}
    assert len(words) == len(pages)
    assert 0 not in words
