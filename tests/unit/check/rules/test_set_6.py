"""SET-6: versions that differ migrate to each other."""

from pathlib import Path

import msgspec
import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.records import Side
from harness.history.rundir import load
from tests.twins.damage import change, one, pick
from tests.unit.check.histories import (
    FACTS,
    NEW,
    changed,
    completed,
    find,
    good,
    only,
    refused,
    scenario,
    with_manifest,
    without,
)


def asked(run) -> str:
    return judge(run).not_applicable.get("SET-6", "")


DATA = Path(__file__).parents[3] / "data"


def without_end(run):
    """Neither side told how the migration ended."""
    told = [
        *pick(run.records, "MIGRATION", status="completed"),
        *pick(run.records, "RESUME"),
        *pick(run.records, "execute", "return", command="query-migrate"),
    ]
    return changed(run, [record for record in run.records if record not in told])


def crashed(run):
    end = one(run.records, "exited", side=Side.DESTINATION)
    died = change(end, status=-1, signal=6, asked=False)
    return changed(run, [died if record is end else record for record in run.records])


@pytest.mark.parametrize("pair", [(FACTS, NEW), (NEW, FACTS)], ids=["to newer", "to older"])
def test_state_that_arrives_whole_at_another_version(pair):
    source, destination = pair
    run = with_manifest(completed(scenario()), source=source, destination=destination)
    finding = find(run, "SET-6")
    assert finding.outcome is Outcome.VALID
    assert set(finding.numbers.values()) == {"10.0.2", "11.1.3"}


def test_one_version_is_not_asked():
    assert asked(good("multifd")) == "source and destination are of one version"


def test_machine_types_that_differ_need_not_migrate():
    newer = msgspec.structs.replace(NEW, machine="pc-q35-11.1")
    run = with_manifest(completed(scenario()), destination=newer)
    assert asked(run) == "the machine types differ: pc-q35-10.0 and pc-q35-11.1"


def test_machine_type_that_is_not_known_is_taken_for_the_same():
    unknown = msgspec.structs.replace(NEW, machine="")
    assert not asked(with_manifest(completed(scenario()), destination=unknown))


def test_migration_that_must_not_complete_is_not_asked():
    off = refused(scenario(multifd=False), "Multifd device transfer requested but unsupported")
    assert "must not complete" in asked(with_manifest(off, destination=NEW))


def test_failure_is_told_with_both_versions_and_the_destinations_reason():
    run = with_manifest(refused(scenario(), "Channel error"), destination=NEW)
    finding = find(run, "SET-6")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.sentence == (
        "the migration from 10.0.2 to 11.1.3 failed at the source: load of stream failed"
    )
    assert [record.side for record in finding.evidence] == [Side.DESTINATION, Side.SOURCE]


def test_destination_that_crashes():
    crash = crashed(without_end(good("two versions")))
    finding = find(crash, "SET-6")
    assert finding.outcome is Outcome.VIOLATED
    assert "failed at the destination" in finding.sentence
    assert finding.evidence[-1].name == "exited"


def test_crash_after_it_has_completed_is_not_about_versions():
    assert find(crashed(good("two versions")), "SET-6").outcome is Outcome.UNKNOWN


def test_migration_without_an_end_contradicts_nothing():
    finding = find(without_end(good("two versions")), "SET-6")
    assert finding.outcome is Outcome.UNKNOWN
    assert "did not come to an end" in finding.sentence


def test_device_that_holds_less_than_was_sent():
    run = good("two versions")
    received = only(run, "received")[0]
    short = received.args.bytes - 5
    records = [change(r, bytes=short) if r is received else r for r in run.records]
    finding = find(changed(run, records), "SET-6")
    assert finding.outcome is Outcome.VIOLATED
    assert f"holds {short} of {received.args.expected_bytes} bytes" in finding.sentence


def test_bytes_that_a_fault_changed_are_not_the_versions_fault():
    run = load(DATA / "good" / "versions-changed-byte")
    assert only(run, "received")[0].args.first_difference != -1
    finding = find(run, "SET-6")
    assert finding.outcome is Outcome.VALID
    assert finding.sentence == "the migration from 10.0.13 to 11.1.3 completed"


def test_device_that_told_nothing_is_unknown():
    finding = find(without(good("two versions"), "received"), "SET-6")
    assert finding.outcome is Outcome.UNKNOWN
    assert "got is not known" in finding.sentence


def test_end_that_was_not_seen_is_unknown():
    run = without(good("two versions"), "exited")
    assert find(run, "SET-6").outcome is Outcome.UNKNOWN
