"""Settings decide about the path of the device state: SET-1, SET-2 and SET-3."""

import msgspec
import pytest

from harness.check.evidence import SAVE_MAIN_START
from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.scenario import OnOffAuto, Transport
from tests.unit.check.histories import (
    FACTS,
    OLD,
    UNSUPPORTED,
    blocked,
    completed,
    device,
    find,
    good,
    history,
    refused,
    scenario,
    without,
)

# -- SET-1 ------------------------------------------------------------------------------


ON, OFF, AUTO = OnOffAuto.ON, OnOffAuto.OFF, OnOffAuto.AUTO


@pytest.mark.parametrize(
    ("setting", "multifd", "main"),
    [
        (ON, True, ()),
        (AUTO, True, ()),
        (None, True, ()),
        (OFF, True, ("vfio0",)),
        (AUTO, False, ("vfio0",)),
        (None, False, ("vfio0",)),
        (OFF, False, ("vfio0",)),
    ],
)
def test_setting_and_capability_decide(setting, multifd, main):
    run = completed(scenario(device(multifd_transfer=setting), multifd=multifd), main=main)
    assert find(run, "SET-1").outcome is Outcome.VALID


@pytest.mark.parametrize("setting", [ON, AUTO, None])
def test_main_channel_where_multifd_was_to_be(setting):
    run = completed(scenario(device(multifd_transfer=setting)), main=("vfio0",))
    finding = find(run, "SET-1")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.evidence[0].name == SAVE_MAIN_START


def test_multifd_where_the_main_channel_was_to_be():
    finding = find(completed(scenario(device(multifd_transfer=OFF))), "SET-1")
    assert finding.outcome is Outcome.VIOLATED
    assert "must go over the main channel, but it went over multifd" in finding.sentence


def test_on_without_multifd_is_refused_with_its_reason():
    run = refused(scenario(multifd=False), UNSUPPORTED)
    assert find(run, "SET-1").outcome is Outcome.VALID
    assert judge(run).overall is Outcome.VALID


def test_on_without_multifd_must_not_complete():
    run = completed(scenario(multifd=False), main=("vfio0",))
    assert find(run, "SET-1").outcome is Outcome.VIOLATED


def test_devices_that_do_not_get_that_far_are_not_asked():
    why = judge(good("blocked")).not_applicable["SET-1"]
    assert why == "the devices do not get that far: blocked"


def test_refusal_of_postcopy_says_nothing_about_the_transfer():
    of = scenario(device(multifd_transfer=AUTO), capabilities={"postcopy-ram": True})
    run = blocked(of, "VFIO_FD7: VFIO migration is not supported with postcopy migration")
    verdict = judge(run)
    assert verdict.not_applicable["SET-1"] == "it must be refused for another reason: postcopy"
    assert verdict.overall is Outcome.VALID


def test_refusal_in_other_words_says_nothing_about_the_transfer():
    run = refused(scenario(multifd=False), "Cannot allocate memory")
    assert find(run, "SET-1").outcome is Outcome.UNKNOWN
    assert find(run, "RUN").outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("name", ["compression", "old machine", "multifd", "refused"])
def test_it_is_asked_beside_the_rules_of_single_settings(name):
    assert find(good(name), "SET-1").outcome is Outcome.VALID


def test_path_of_a_run_whose_end_was_not_seen_is_unknown():
    assert find(without(good("multifd"), "exited"), "SET-1").outcome is Outcome.UNKNOWN


def test_without_a_trace_the_path_is_unknown():
    assert find(completed(scenario(trace=())), "SET-1").outcome is Outcome.UNKNOWN


# -- SET-2 ------------------------------------------------------------------------------


MAPPED = {"capabilities": {"mapped-ram": True}, "transport": Transport.FILE}
COMPRESSED = [{"parameters": {"multifd-compression": name}} for name in ("zlib", "zstd")]
SETTINGS = [*COMPRESSED, MAPPED]


@pytest.mark.parametrize("fields", SETTINGS)
def test_auto_falls_back(fields):
    run = completed(scenario(device(multifd_transfer=AUTO), **fields), main=("vfio0",))
    assert find(run, "SET-2").outcome is Outcome.VALID


@pytest.mark.parametrize("fields", SETTINGS)
def test_auto_that_does_not_fall_back(fields):
    run = completed(scenario(device(multifd_transfer=AUTO), **fields))
    assert find(run, "SET-2").outcome is Outcome.VIOLATED


@pytest.mark.parametrize("fields", SETTINGS)
def test_on_is_refused(fields):
    assert find(refused(scenario(**fields), UNSUPPORTED), "SET-2").outcome is Outcome.VALID
    accepted = completed(scenario(**fields), main=("vfio0",))
    assert find(accepted, "SET-2").outcome is Outcome.VIOLATED


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (good("multifd"), "neither compression nor mapped-ram"),
        (
            completed(scenario(parameters={"multifd-compression": "none"})),
            "neither compression nor mapped-ram",
        ),
    ],
)
def test_not_asked(run, why):
    assert judge(run).not_applicable["SET-2"] == why


@pytest.mark.parametrize("transport", [Transport.UNIX, Transport.TCP])
def test_refused_transport_says_nothing_about_the_transfer(transport):
    fields = {"capabilities": {"mapped-ram": True}, "transport": transport}
    run = refused(scenario(**fields), "Migration requires seekable transport (e.g. file)")
    assert "another reason" in judge(run).not_applicable["SET-2"]


def test_blocked_device_does_not_get_that_far():
    run = scenario(device(enable_migration=OnOffAuto.OFF), **MAPPED)
    verdict = judge(refused(run, "disabled"))
    assert verdict.not_applicable["SET-2"] == "the devices do not get that far: blocked"


# -- SET-3 ------------------------------------------------------------------------------


def of(machine: str):
    return msgspec.structs.replace(FACTS, machine=machine)


@pytest.mark.parametrize("machine", ["pc-q35-9.2", "pc-q35-8.0", "pc-i440fx-9.1"])
@pytest.mark.parametrize("setting", [None, OnOffAuto.AUTO, OnOffAuto.OFF])
def test_state_takes_the_main_channel(machine, setting):
    one = scenario(device(multifd_transfer=setting), machine=machine)
    right = completed(one, main=("vfio0",), facts=of(machine))
    assert find(right, "SET-3").outcome is Outcome.VALID
    assert find(completed(one, facts=of(machine)), "SET-3").outcome is Outcome.VIOLATED


def test_on_is_refused_with_an_old_machine():
    run = refused(scenario(), UNSUPPORTED, OLD)
    assert find(run, "SET-3").outcome is Outcome.VALID
    assert find(completed(scenario(), facts=OLD), "SET-3").outcome is Outcome.VIOLATED


@pytest.mark.parametrize("machine", ["pc-q35-10.0", "pc-q35-11.1", ""])
def test_newer_machine_types_are_not_asked(machine):
    verdict = judge(completed(scenario(), facts=of(machine)))
    assert verdict.not_applicable["SET-3"] == "the machine type is newer than 9.2"


def test_device_that_cannot_migrate_does_not_get_that_far():
    one = scenario(device(enable_migration=OnOffAuto.OFF))
    assert judge(history(one, [], OLD)).not_applicable["SET-3"] == (
        "the devices do not get that far: blocked"
    )


def test_unknown_machine_is_taken_from_the_scenario():
    one = scenario(device(multifd_transfer=None), machine="pc-q35-9.0")
    assert find(completed(one, main=("vfio0",), facts=of("")), "SET-3").outcome is Outcome.VALID
    assert "SET-3" in judge(good("multifd")).not_applicable
