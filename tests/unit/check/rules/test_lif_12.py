"""LIF-12: a device is not unplugged while it migrates."""

import msgspec
import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history import Kind
from harness.scenario.action_plan import Target
from tests.unit.check.histories import completed, find, good
from tests.unit.check.lives import UNPLUG, Life, ended, unplugged
from tests.unit.check.story import DST, SRC, device, scenario

PLUG = msgspec.structs.replace(
    UNPLUG, command="device_add", arguments={"driver": "virtio-rng-pci", "id": "new"}
)
AT_DESTINATION = msgspec.structs.replace(UNPLUG, target=Target.DESTINATION)


def verdict(life: Life):
    life.cancelled()
    return find(ended(life), "LIF-12")


def deleted(life: Life, name: str = "vfio0") -> None:
    life.add(SRC, Kind.QMP, "DEVICE_DELETED", device=name, path=f"/machine/peripheral/{name}")


# -- a right QEMU ---------------------------------------------------------------------------


def test_refused_with_a_reason():
    finding = find(good("unplug refused"), "LIF-12")
    assert finding.outcome is Outcome.VALID
    assert finding.sentence == (
        "refused in the status active by the source: device_del not allowed while migrating"
    )


def test_it_is_not_asked_where_no_device_was_to_be_unplugged():
    assert (
        judge(completed(scenario())).not_applicable["LIF-12"]
        == "no device was to be unplugged or plugged"
    )


def test_other_devices_and_failover_pairs_may_go():
    other = msgspec.structs.replace(UNPLUG, arguments={"id": "net0"})
    assert "LIF-12" in judge(ended(unplugged("done", other))).not_applicable
    pair = scenario(device(properties={"failover_pair_id": "net0"}), actions=(UNPLUG,))
    life = Life(pair)
    deleted(life)
    life.status(SRC, "device", "completed")
    assert "LIF-12" in judge(life.history()).not_applicable


def test_device_that_is_gone_before_or_after_is_no_violation():
    life = unplugged()
    life.cancelled()
    deleted(life)
    assert find(ended(life), "LIF-12").outcome is Outcome.VALID


def test_new_device_is_refused_with_a_reason():
    life = unplugged(action=PLUG)
    life.cancelled()
    assert find(ended(life), "LIF-12").outcome is Outcome.VALID


# -- a wrong one ----------------------------------------------------------------------------


def violated(life: Life, shape: str) -> None:
    finding = verdict(life)
    assert finding.outcome is Outcome.VIOLATED, finding.sentence
    assert finding.shape == shape


@pytest.mark.parametrize("at", ["setup", "active", "pre-switchover", "device"])
def test_source_that_accepts(at):
    violated(unplugged("done", at=at), "accepted-while-migrating")


@pytest.mark.parametrize("at", ["setup", "active", "pre-switchover", "device"])
def test_source_that_accepts_a_new_device(at):
    violated(unplugged("done", PLUG, at=at), "plug-accepted-while-migrating")


@pytest.mark.parametrize(
    ("action", "shape"),
    [
        (AT_DESTINATION, "accepted-while-loading"),
        (
            msgspec.structs.replace(PLUG, target=Target.DESTINATION),
            "plug-accepted-while-loading",
        ),
    ],
)
def test_destination_that_accepts_while_it_loads(action, shape):
    life = Life(scenario(actions=(action,)))
    life.status(DST, "active")
    life.records += unplugged("done", action).records[-2:]
    life.records[-2:] = [
        msgspec.structs.replace(record, t_ns=life.at + number)
        for number, record in enumerate(life.records[-2:])
    ]
    violated(life, shape)


def test_device_that_goes_while_it_migrates():
    life = unplugged()
    deleted(life)
    violated(life, "unplugged-while-migrating")


# -- what cannot be judged --------------------------------------------------------------------


def test_request_that_came_as_the_migration_ended_is_unknown():
    life = unplugged("done")
    life.status(SRC, "completed")
    assert find(ended(life), "LIF-12").outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("action", [UNPLUG, PLUG])
def test_destination_that_listens_may_accept(action):
    there = msgspec.structs.replace(action, target=Target.DESTINATION)
    assert verdict(unplugged("done", there)).outcome is Outcome.UNKNOWN
