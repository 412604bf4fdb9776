"""SET-3: machine types of 9.2 and older keep device state on the main channel."""

import msgspec
import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.scenario import OnOffAuto
from tests.unit.check.histories import (
    FACTS,
    OLD,
    UNSUPPORTED,
    completed,
    device,
    find,
    good,
    history,
    refused,
    scenario,
)


def of(machine: str):
    return msgspec.structs.replace(FACTS, machine=machine)


@pytest.mark.parametrize("machine", ["pc-q35-9.2", "pc-q35-8.0", "pc-i440fx-9.1"])
@pytest.mark.parametrize("setting", [None, OnOffAuto.AUTO, OnOffAuto.OFF])
def test_state_takes_the_main_channel(machine, setting):
    one = scenario(device(multifd_transfer=setting), machine=machine)
    right = completed(one, main=("vfio0",), facts=of(machine))
    assert find(right, "SET-3").outcome is Outcome.VALID
    assert find(completed(one, facts=of(machine)), "SET-3").outcome is Outcome.VIOLATED


def test_on_is_refused():
    run = refused(scenario(), UNSUPPORTED, OLD)
    assert find(run, "SET-3").outcome is Outcome.VALID
    assert find(completed(scenario(), facts=OLD), "SET-3").outcome is Outcome.VIOLATED


@pytest.mark.parametrize("machine", ["pc-q35-10.0", "pc-q35-11.1", ""])
def test_newer_machine_types_are_not_asked(machine):
    verdict = judge(completed(scenario(), facts=of(machine)))
    assert verdict.not_asked["SET-3"] == "the machine type is newer than 9.2"


def test_device_that_cannot_migrate_does_not_get_that_far():
    one = scenario(device(enable_migration=OnOffAuto.OFF))
    assert judge(history(one, [], OLD)).not_asked["SET-3"] == (
        "the devices do not get that far: blocked"
    )


def test_unknown_machine_is_taken_from_the_scenario():
    one = scenario(device(multifd_transfer=None), machine="pc-q35-9.0")
    assert find(completed(one, main=("vfio0",), facts=of("")), "SET-3").outcome is Outcome.VALID
    assert "SET-3" in judge(good("multifd")).not_asked
