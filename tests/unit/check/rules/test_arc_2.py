"""ARC-2: a missing or a second data_fd fails the migration, and none is left open."""

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.records import Record
from harness.scenario import LoadBehaviour
from tests.twins.damage import drop, one, some, swap
from tests.twins.twin import twin
from tests.unit.check.histories import (
    DATA_FDS,
    REFUSES,
    changed,
    completed,
    failed_by_data_fd,
    find,
    good,
    scenario,
)
from tests.unit.check.story import device

WHAT = "vfio0 gave no data_fd with STOP_COPY at the source"


@twin("ARC-2", on="no data_fd")
def data_fd_that_is_left(records: list[Record]) -> list[Record]:
    return swap(records, [one(records, "data_fds", side="source")], open=1)


def test_migration_that_fails_and_leaves_none_is_valid():
    finding = find(good("no data_fd"), "ARC-2")
    assert finding.outcome is Outcome.VALID
    assert finding.sentence == f"{WHAT}: both sides failed, and the source runs on"
    verdict = judge(good("no data_fd"))
    assert verdict.overall is not Outcome.VIOLATED
    assert {"ARC-1", "LIF-5"} <= verdict.not_applicable.keys()


@pytest.mark.parametrize("side", ["source", "destination"])
def test_data_fd_that_is_left_is_named_with_its_side(side):
    run = good("no data_fd")
    records = swap(list(run.records), [one(run.records, "data_fds", side=side)], open=2)
    finding = find(changed(run, records), "ARC-2")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, f"{side}-data-fd-left")
    assert f"the {side} has 2 open" in finding.sentence


def test_data_fds_that_were_not_counted_are_not_known():
    assert find(failed_by_data_fd(left=None), "ARC-2").outcome is Outcome.UNKNOWN


def test_destination_that_has_exited_has_none():
    run = good("no data_fd")
    end = one(run.records, "exited", side="destination")
    records = drop(list(run.records), "data_fds", side="destination")
    records = swap(records, [end], status=1, asked=False)
    assert find(changed(run, records), "ARC-2").outcome is Outcome.VALID


def test_error_without_the_name_is_a_violation():
    finding = find(failed_by_data_fd("operation cancelled"), "ARC-2")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, "unnamed")


def test_source_that_completes_is_a_violation():
    run = good("no data_fd")
    failed = some(run.records, "MIGRATION", status="failed")
    records = swap(list(run.records), failed, status="completed")
    answers = some(records, "return", command="query-migrate")
    records = swap(records, answers, value={"status": "completed"})
    finding = find(changed(run, records), "ARC-2")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.shape == "destination-completed-after-device-error"


def test_data_fd_that_was_not_wrong_is_not_known():
    run = completed(scenario(device(size=1000, data_fds=DATA_FDS)))
    assert find(run, "ARC-2").outcome is Outcome.UNKNOWN
    assert find(run, "RUN").outcome is not Outcome.VALID


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "no device gives a wrong number of data_fds"),
        ({"data_fds": DATA_FDS, "refuses": REFUSES}, "a device may fail another call first"),
        (
            {"data_fds": DATA_FDS, "load": LoadBehaviour(error_at=0)},
            "a device may fail another call first",
        ),
        (
            {"data_fds": DATA_FDS, "pre_copy": True},
            "the model does not know devices[0].data_fds: none data_fd for STOP_COPY at the source",
        ),
    ],
)
def test_where_it_does_not_apply(fields, why):
    verdict = judge(completed(scenario(device(size=1000, **fields))))
    assert verdict.not_applicable["ARC-2"] == why
