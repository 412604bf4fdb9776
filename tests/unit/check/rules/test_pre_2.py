"""PRE-2: QEMU takes each answer to MIG_PRECOPY_INFOv2 for what it means."""

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.process import Stderr
from harness.history.records import Kind, Record
from tests.twins.damage import drop, one, some, swap
from tests.twins.twin import twin
from tests.unit.check.histories import MS, NEW, asked, changed, completed, find, good, with_manifest
from tests.unit.check.story import SRC, device, scenario

WORDS = "failed to set precopy info v2: Inappropriate ioctl for device"


@twin("PRE-2", on="precopy info v2")
def feature_that_is_not_used(records: list[Record]) -> list[Record]:
    return swap(
        records, some(records, "vfio_migration_init", side="source"), precopy_info_v2_used=0
    )


@twin("PRE-2", on="no precopy info v2")
def feature_that_is_used_without_being_there(records: list[Record]) -> list[Record]:
    return swap(records, some(records, "vfio_migration_init"), precopy_info_v2_used=1)


def test_each_answer_is_taken_for_what_it_means():
    used, not_used = (
        find(good("precopy info v2"), "PRE-2"),
        find(good("no precopy info v2"), "PRE-2"),
    )
    assert used.outcome is not_used.outcome is Outcome.VALID
    assert (used.numbers, not_used.numbers) == (
        {"used": 2, "not_used": 0},
        {"used": 0, "not_used": 2},
    )


def test_error_is_the_reason_that_the_device_cannot_migrate():
    finding = find(good("precopy info v2 fails"), "PRE-2")
    assert finding.outcome is Outcome.VALID
    assert finding.sentence == (
        "vfio0 answered Input/output error at the source: QEMU refuses to migrate it, with the "
        "reason"
    )


def test_migration_in_spite_of_an_error_is_a_violation():
    spec = device(pre_copy=True, precopy_info_v2=5, precopy_initial_bytes=1000)
    run = completed(scenario(spec))
    run = with_manifest(changed(run, [*run.records, asked(5, SRC)]), source=NEW, destination=NEW)
    finding = find(run, "PRE-2")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, "migration-begun")


def test_older_kernel_that_is_taken_for_an_error_is_a_violation():
    run = good("no precopy info v2")
    first = one(run.records, "vfio_migration_init", side="source")
    said = Record.of(first.t_ns + MS, SRC, Stderr(line=f"vfio0: {WORDS}"))
    finding = find(changed(run, [*run.records, said]), "PRE-2")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, "taken-for-an-error")


@pytest.mark.parametrize("name", ["precopy info v2", "no precopy info v2"])
def test_what_qemu_made_of_it_must_be_seen(name):
    run = good(name)
    records = drop(list(run.records), "vfio_migration_init", side="destination")
    finding = find(changed(run, records), "PRE-2")
    assert finding.outcome is Outcome.UNKNOWN
    assert finding.sentence.endswith("was not seen: vfio0 at the destination")


def test_error_about_something_else_is_not_known_to_be_the_reason():
    run = good("precopy info v2 fails")
    records = swap(list(run.records), some(run.records, "stderr"), line="qemu: no memory")
    assert find(changed(run, records), "PRE-2").outcome is Outcome.UNKNOWN


def test_qemu_that_does_not_ask_is_not_judged():
    run = good("precopy info v2")
    records = [
        each for each in run.records if each.kind is not Kind.DEVICE or "info" not in each.name
    ]
    assert judge(changed(run, records)).finding("PRE-2") is None
    assert judge(good("multifd")).finding("PRE-2") is None
