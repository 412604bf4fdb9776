"""On which path the state travelled, or with which words it was refused."""

import pytest

from harness.check.evidence import INCOMING, SAVE_MAIN_START, SAVE_THREAD_START, Evidence, Seen
from harness.check.rules.transfer_settings import SET_1
from harness.check.transfer_path import gets_there, judge_path, was_anything_sent
from harness.check.verdict import Finding, Outcome
from harness.model.expectation import expect
from tests.twins.damage import change, drop, one, pick, swap
from tests.unit.check.histories import (
    FACTS,
    SRC,
    UNSUPPORTED,
    blocked,
    changed,
    completed,
    device,
    good,
    refused,
    scenario,
    without,
)


def checked(run) -> Evidence:
    manifest = run.manifest
    return Evidence(Seen(run), expect(run.scenario, manifest.source, manifest.destination))


def judged(run) -> Finding:
    return judge_path(checked(run), SET_1)


def test_path_that_was_asked_for():
    finding = judged(good("multifd"))
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["paths"] == {"vfio0": "multifd", "vfio1": "multifd"}
    assert judged(good("compression")).numbers["paths"] == {"vfio0": "main"}


def test_one_device_on_the_wrong_path_is_named():
    run = completed(scenario(device(), device("b", seed=2)), main=("b",))
    finding = judged(run)
    assert finding.outcome is Outcome.VIOLATED
    assert "b: its state must go over multifd, but it went over the main channel" in (
        finding.sentence
    )
    assert finding.evidence[0].name == SAVE_MAIN_START


def test_no_sign_of_either_path_is_unknown():
    run = good("multifd")
    names = (SAVE_THREAD_START, INCOMING, "vfio_load_bufs_thread_start")
    finding = judged(without(run, *names))
    assert finding.outcome is Outcome.UNKNOWN
    assert "is not known" in finding.sentence


def test_migration_that_failed_took_no_path():
    run = refused(scenario(), "Channel error: Input/output error")
    finding = judged(run)
    assert finding.outcome is Outcome.UNKNOWN
    assert "did not complete" in finding.sentence


def test_refusal_with_its_reason():
    finding = judged(good("refused"))
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["said"] == UNSUPPORTED


def test_reason_may_come_from_the_other_side_and_in_other_case():
    run = refused(scenario(multifd=False), "ram_save_setup failed: Input/output error")
    answer = pick(run.records, "return", side="destination", command="query-migrate")
    said = {"status": "failed", "error-desc": UNSUPPORTED.upper()}
    finding = judged(changed(run, swap(list(run.records), answer, value=said)))
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["by"] == "destination"


def test_refusal_with_another_reason_says_nothing_about_this_one():
    finding = judged(refused(scenario(multifd=False), "Connection reset by peer"))
    assert finding.outcome is Outcome.UNKNOWN
    assert "load of stream failed" in finding.sentence


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, ""),
        ({"multifd": False}, ""),
        ({"capabilities": {"postcopy-ram": True}}, "for another reason: postcopy"),
        ({"capabilities": {"mapped-ram": True}}, "for another reason: Migration requires seekable"),
        ({"capabilities": {"xbzrle": True}}, "for another reason: Multifd is not compatible"),
    ],
)
def test_only_the_refusal_of_the_transfer_is_about_the_path(fields, why):
    of = scenario(**fields)
    said = gets_there(of, expect(of, FACTS, FACTS))
    assert why in said
    assert bool(said) is bool(why)


def test_refusal_that_nobody_explained_is_unknown():
    run = without(good("refused"), "return", "stderr")
    assert judged(run).outcome is Outcome.UNKNOWN


def test_state_that_was_sent_before_the_refusal():
    run = good("refused")
    setup = one(run.records, "MIGRATION", status="failed", side=SRC)
    sent = change(one(good("multifd").records, SAVE_THREAD_START), t_ns=setup.t_ns, device="vfio0")
    finding = judged(changed(run, [*run.records, sent]))
    assert finding.outcome is Outcome.VIOLATED
    assert "before any state is sent" in finding.sentence
    assert finding.evidence == (sent,)


def test_refusal_that_did_not_happen():
    finding = judged(completed(scenario(multifd=False), main=("vfio0",)))
    assert finding.outcome is Outcome.VIOLATED
    assert "must be refused" in finding.sentence


def test_set_up_is_a_part_of_being_sent():
    run = good("multifd")
    begun = was_anything_sent(checked(run), "vfio0")
    assert begun is not None
    assert begun.name == "vfio_save_setup"
    rest = changed(run, drop(list(run.records), "vfio_save_setup"))
    begun = was_anything_sent(checked(rest), "vfio0")
    assert begun is not None
    assert begun.name == SAVE_THREAD_START
    assert was_anything_sent(checked(blocked(scenario(), "no")), "vfio0") is None
