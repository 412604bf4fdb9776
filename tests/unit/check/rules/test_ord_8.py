"""ORD-8: a device that accepts part of a write gets the rest."""

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.scenario import MIB, LoadBehaviour, OnOffAuto
from tests.twins.damage import swap
from tests.unit.check.histories import (
    changed,
    completed,
    device,
    find,
    good,
    only,
    scenario,
    without,
)

PARTS = LoadBehaviour(write_sizes=(300_000,))


def run_of(**fields):
    return completed(scenario(device(**{"load": PARTS, **fields})))


def edited(at: int, **fields):
    run = good("short writes")
    write = only(run, "write")[at]
    return changed(run, swap(list(run.records), [write], **fields))


def test_device_that_takes_all_is_not_asked():
    assert judge(completed(scenario())).not_applicable["ORD-8"] == (
        "no destination device cuts a write short"
    )


def test_rest_follows_each_short_write():
    finding = find(good("short writes"), "ORD-8")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers == {"short_writes": 12, "bytes_taken": 4 * MIB}


def test_main_channel_is_judged_too():
    spec = device(load=PARTS, multifd_transfer=OnOffAuto.OFF)
    run = completed(scenario(spec), main=("vfio0",))
    assert find(run, "ORD-8").outcome is Outcome.VALID


@pytest.mark.parametrize(
    ("at", "fields", "words"),
    [
        (1, {"asked": 1_048_576}, "left 748576 bytes of a write at byte 0, and was offered"),
        (1, {"asked": 5}, "and was offered 5 next"),
        (1, {"offset": 0}, "a write at byte 0, but the device had taken 300000 bytes"),
        (4, {"offset": 1_100_000}, "the device had taken 1048576 bytes"),
    ],
)
def test_rest_that_is_not_the_rest(at, fields, words):
    finding = find(edited(at, **fields), "ORD-8")
    assert finding.outcome is Outcome.VIOLATED
    assert words in finding.sentence
    assert all(record.name == "write" for record in finding.evidence)


def test_rest_that_never_came():
    run = good("short writes")
    last = only(run, "write")[-1]
    finding = find(changed(run, [r for r in run.records if r is not last]), "ORD-8")
    assert "was never offered the rest of its last write" in finding.sentence


def test_rest_that_a_failed_run_owes():
    run = good("short writes")
    last = only(run, "write")[-1]
    kept = [r for r in run.records if r is not last and r.name not in ("RESUME", "return")]
    failed = swap(kept, [r for r in kept if r.name == "MIGRATION"], status="failed")
    assert find(changed(run, failed), "ORD-8").outcome is Outcome.UNKNOWN


def test_write_that_failed_has_no_rest():
    run = edited(0, got=0, errno=5)
    writes = only(run, "write")[1:]
    records = [r for r in run.records if r not in writes]
    finding = find(changed(run, records), "ORD-8")
    assert finding.outcome is Outcome.UNKNOWN
    assert finding.numbers["short_writes"] == 0


def test_writes_that_nobody_recorded_are_unknown():
    finding = find(without(good("short writes"), "write"), "ORD-8")
    assert finding.outcome is Outcome.UNKNOWN
    assert "no write was cut short" in finding.sentence


def test_write_sizes_that_are_never_met_are_unknown():
    run = run_of(load=LoadBehaviour(write_sizes=(2 * MIB,)))
    assert find(run, "ORD-8").outcome is Outcome.UNKNOWN


def test_only_the_device_that_cuts_is_judged():
    run = completed(scenario(device("a", load=PARTS), device("b", seed=2)))
    assert find(run, "ORD-8").outcome is Outcome.VALID
