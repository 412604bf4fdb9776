"""SET-1: on, off and auto do what they say."""

import pytest

from harness.check.judge import judge
from harness.check.run import SAVE_MAIN_START
from harness.check.verdict import Outcome
from harness.scenario import OnOffAuto
from tests.unit.check.histories import (
    UNSUPPORTED,
    blocked,
    completed,
    device,
    find,
    good,
    refused,
    scenario,
    without,
)

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
    why = judge(good("blocked")).not_asked["SET-1"]
    assert why == "the devices do not get that far: blocked"


def test_refusal_of_postcopy_says_nothing_about_the_transfer():
    of = scenario(device(multifd_transfer=AUTO), capabilities={"postcopy-ram": True})
    run = blocked(of, "VFIO_FD7: VFIO migration is not supported with postcopy migration")
    verdict = judge(run)
    assert verdict.not_asked["SET-1"] == "it must be refused for another reason: postcopy"
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
