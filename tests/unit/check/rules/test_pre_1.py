"""PRE-1: with switchover-ack initial bytes arrive before the source stops."""

import msgspec

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.records import Record
from harness.scenario import MIB
from tests.twins.damage import drop, one, some, swap
from tests.twins.twin import twin
from tests.unit.check.histories import (
    SWITCHOVER_ACK,
    changed,
    completed,
    find,
    good,
    only,
    with_args,
    with_manifest,
)
from tests.unit.check.story import DST, FACTS, SRC, US, device, scenario

AGAIN, LATE = "initial bytes again", "initial bytes too late"


@twin("PRE-1", on=AGAIN)
def stop_before_the_new_initial_bytes(records: list[Record]) -> list[Record]:
    told = one(records, "reinit")
    return swap(records, some(records, "STOP", side=SRC), t_ns=told.t_ns + US)


def test_new_initial_bytes_are_loaded_before_the_stop():
    finding = find(good(AGAIN), "PRE-1")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers == {"bytes": 2 * MIB, "reinits": 1}


def test_stop_before_the_first_initial_bytes_is_a_violation():
    run = good(AGAIN)
    records = drop(drop(list(run.records), "reinit"), "precopy_changed")
    first = only(run, "vfio_load_state_device_data", side=DST)[0]
    records = swap(records, some(records, "STOP", side=SRC), t_ns=first.t_ns + US)
    finding = find(changed(run, records), "PRE-1")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, "stopped-before-initial-bytes")


def test_new_initial_bytes_that_qemu_did_not_ask_for_are_not_judged():
    run = good(AGAIN)
    finding = find(changed(run, drop(list(run.records), "reinit")), "PRE-1")
    assert finding.outcome is Outcome.UNKNOWN


def test_older_machine_type_acknowledges_once():
    run = good(AGAIN)
    older = msgspec.structs.replace(run.manifest.source, machine="pc-q35-11.0")
    finding = find(with_manifest(run, source=older), "PRE-1")
    assert finding.outcome is Outcome.UNKNOWN
    assert finding.sentence == "vfio0: this machine type acknowledges initial bytes once"


def test_stop_must_be_seen():
    run = good(AGAIN)
    finding = find(changed(run, drop(list(run.records), "STOP", side=SRC)), "PRE-1")
    assert finding.outcome is Outcome.UNKNOWN


def test_new_initial_bytes_at_the_switchover_fail_it_with_the_reason():
    finding = find(good(LATE), "PRE-1")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["said"] == SWITCHOVER_ACK
    assert find(good(LATE), "RUN").outcome is Outcome.VALID


def test_failure_without_the_reason_is_not_known_to_be_for_them():
    run = good(LATE)
    (answer,) = (r for r in only(run, "return", side=SRC) if "failed" in str(r.args))
    value = {"status": "failed", "error-desc": "no memory"}
    assert find(with_args(run, answer, value=value), "PRE-1").outcome is Outcome.UNKNOWN


def test_destination_that_completes_is_a_violation():
    run = good(LATE)
    failed = some(run.records, "MIGRATION", side=DST, status="failed")
    records = swap(list(run.records), failed, status="completed")
    answers = some(records, "return", command="query-migrate", side=DST)
    records = swap(records, answers, value={"status": "completed"})
    finding = find(changed(run, records), "PRE-1")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, "destination-completed")


def test_without_switchover_ack_nothing_is_demanded():
    run = completed(scenario(device(pre_copy=True, precopy_initial_bytes=MIB)), facts=FACTS)
    assert judge(run).finding("PRE-1") is None
