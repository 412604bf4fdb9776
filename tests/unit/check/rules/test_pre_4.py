"""PRE-4: sizes that fail, shrink, grow or overflow never crash QEMU or end pre-copy too early."""

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.process import Exited
from harness.history.records import Record, Side
from harness.history.session import Action
from harness.scenario import LoadBehaviour, MigrationState, RefusedArc
from harness.scenario.misreports import Misreport, Query
from tests.twins.damage import drop, one, some, swap
from tests.twins.twin import twin
from tests.unit.check.histories import changed, completed, find, good
from tests.unit.check.lives import CANCEL, STOP
from tests.unit.check.misreported import (
    FAILS,
    INITIAL,
    NO_INFO,
    STAND_IN,
    answer,
    misreporting,
    with_flag,
    with_sizes,
)
from tests.unit.check.story import DST, SRC, device, scenario

SIZE = misreporting().size


def run_of(*late: int, misreports=FAILS, devices: int = 1, **how):
    specs = [misreporting(f"vfio{number}", misreports) for number in range(devices)]
    run = completed(scenario(*specs))
    return find(changed(run, with_sizes(run, *late, **how)), "PRE-4")


def run_with_flag(loads: int, misreports=NO_INFO, **fields):
    run = completed(
        scenario(
            misreporting(misreports=misreports), capabilities={"switchover-ack": True}, **fields
        )
    )
    return changed(run, with_flag(run, loads))


@twin("PRE-4", on="sizes")
def stop_with_a_total_below_what_is_left(records: list[Record]) -> list[Record]:
    return swap(records, [one(records, "migrate_pending_exact")], size=4096, pre=4096)


def test_size_that_is_not_known_may_be_any_that_is_not_too_small():
    finding = find(good("sizes"), "PRE-4")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers == {"misreports": 1, "total": STAND_IN}
    assert finding.sentence == (
        "vfio0 failed call 2 of MIG_DATA_SIZE, and the source stopped its guest with all that "
        "was reported counted"
    )
    assert judge(good("sizes")).overall is not Outcome.VIOLATED


@pytest.mark.parametrize(
    ("late", "how", "shape"),
    [
        ((), {"total": SIZE}, ""),
        ((), {"total": SIZE - 1}, "total-below-the-sizes"),
        ((5000,), {"total": 5000}, ""),
        ((5000,), {"total": 4999}, "total-below-the-sizes"),
        ((1 << 62,), {"total": 1 << 61}, "total-below-the-sizes"),
        ((1 << 63,), {"total": 0}, "total-below-the-sizes"),
        ((1 << 63,), {"total": SIZE, "taken": SIZE}, ""),
        ((1 << 63,), {"total": SIZE - 1, "taken": 1}, "total-below-the-sizes"),
        ((1 << 63,), {"total": STAND_IN, "taken": STAND_IN}, ""),
        ((1 << 63,), {"total": 1 << 63, "taken": 1 << 63}, ""),
        (((1 << 64) - 1,), {"total": 42 << 20, "taken": (1 << 64) - 1}, "total-below-the-sizes"),
        (((1 << 63) - 1,), {"total": (1 << 64) - 2, "devices": 2}, ""),
        (((1 << 63) - 1,), {"total": (1 << 64) - 1, "devices": 3}, ""),
        (((1 << 63) - 1,), {"total": (1 << 63) - 3, "devices": 3}, "total-below-the-sizes"),
        ((1 << 63,), {"total": 2 * SIZE, "devices": 2, "taken": SIZE}, ""),
        (
            (1 << 63,),
            {"total": 42 << 20, "devices": 2, "taken": 1 << 63},
            "total-below-the-sizes",
        ),
        ((1 << 63,), {"total": 4096, "devices": 2}, "total-below-the-sizes"),
    ],
)
def test_total_must_have_what_was_reported(late, how, shape):
    finding = run_of(*late, **how)
    assert finding.shape == shape
    assert (finding.outcome is Outcome.VIOLATED) == bool(shape)


def test_what_the_source_took_for_a_size_that_cannot_be_may_not_be_known():
    finding = run_of(1 << 63, total=42 << 20)
    assert finding.outcome is Outcome.UNKNOWN
    assert finding.sentence == "what the source took for the size of vfio0 was not seen"


def test_bytes_that_were_read_since_are_not_pending_any_more():
    misreports = (Misreport(query=Query.DATA_SIZE, stop_copy_length=SIZE + INITIAL),)
    run = completed(scenario(misreporting(misreports=misreports)))
    records = with_sizes(run, total=SIZE, exact=False)
    records = swap(records, some(records, "size_answer"), planned=True)
    assert find(changed(run, records), "PRE-4").outcome is Outcome.VALID


def test_stop_without_asking_is_a_violation():
    misreports = (Misreport(query=Query.DATA_SIZE, stop_copy_length=1 << 40),)
    run = completed(scenario(misreporting(misreports=misreports)))
    records = with_sizes(run, total=0, exact=False)
    records = swap(records, some(records, "size_answer"), sizes=[1 << 40], planned=True)
    finding = find(changed(run, records), "PRE-4")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, "sizes-not-asked-for")
    assert finding.numbers == {"total": 0, "reported": (1 << 40) - INITIAL}


def test_last_query_of_the_stopped_guest_does_not_count():
    run = good("sizes")
    exact = one(run.records, "migrate_pending_exact")
    final = swap([exact], [exact], name="qemu_savevm_query_pending", total=0, exact=1, final=1)
    final = swap(final, final, t_ns=exact.t_ns + 1)
    assert find(changed(run, [*run.records, *final]), "PRE-4").outcome is Outcome.VALID


@pytest.mark.parametrize("name", ["migrate_pending_exact", "STOP"])
def test_without_a_total_or_a_stop_it_is_not_known(name):
    run = good("sizes")
    assert find(changed(run, drop(list(run.records), name)), "PRE-4").outcome is Outcome.UNKNOWN


def test_stop_that_is_no_switchover_does_not_count():
    run = good("sizes")
    records = swap(list(run.records), [one(run.records, "migrate_pending_exact")], size=0)
    records = swap(records, some(records, "MIGRATION", side=SRC, status="device"), status="active")
    ends = some(records, "MIGRATION", side=SRC, status="completed")
    records = swap(records, ends, status="cancelled")
    records = drop(records, "return", command="query-migrate")
    assert find(changed(run, records), "PRE-4").outcome is Outcome.UNKNOWN


def test_paused_guest_has_no_downtime():
    run = completed(scenario(misreporting(), actions=(STOP,)))
    begun = Record.of(run.records[0].t_ns, Side.HARNESS, Action(action="", position=0))
    records = [*with_sizes(run, total=0), begun]
    assert judge(changed(run, records)).not_applicable["PRE-4"] == "the guest was paused"


@pytest.mark.parametrize(
    ("total", "outcome"), [(SIZE - 1, Outcome.VIOLATED), (SIZE, Outcome.VALID)]
)
def test_migration_that_is_cancelled_after_its_switchover_is_judged(total, outcome):
    run = completed(scenario(misreporting(), actions=(CANCEL,)))
    records = with_sizes(run, total=total)
    records = swap(records, some(records, "MIGRATION", status="completed"), status="cancelled")
    records = drop(records, "return", command="query-migrate")
    begun = Record.of(run.records[0].t_ns, Side.HARNESS, Action(action="", position=0))
    found = find(changed(run, [*records, begun]), "PRE-4")
    assert found.outcome is outcome
    assert "went on" not in found.sentence


def test_migration_that_is_cancelled_in_its_pre_copy_did_not_end_it():
    run = completed(scenario(misreporting(), actions=(CANCEL,)))
    records = drop(with_sizes(run, total=0), "MIGRATION", side=SRC, status="device")
    records = drop(records, "STOP")
    records = swap(records, some(records, "MIGRATION", status="completed"), status="cancelled")
    records = drop(records, "return", command="query-migrate")
    begun = Record.of(run.records[0].t_ns, Side.HARNESS, Action(action="", position=0))
    found = find(changed(run, [*records, begun]), "PRE-4")
    assert found.outcome is Outcome.VALID
    assert found.sentence.endswith(", and pre-copy went on")


def test_misreports_that_did_not_come_are_not_known():
    run = completed(scenario(misreporting()))
    finding = find(run, "PRE-4")
    assert finding.sentence == "no device was asked for the sizes that it misreports"
    assert find(run, "RUN").outcome is Outcome.UNKNOWN
    assert "vfio0: MIG_DATA_SIZE was not asked 2 times" in find(run, "RUN").sentence


@pytest.mark.parametrize(("side", "signal"), [(SRC, 6), (SRC, 0), (DST, 11)])
def test_crash_is_a_violation(side, signal):
    run = good("sizes")
    records = [r for r in run.records if not (isinstance(r.args, Exited) and r.side is side)]
    end = one(run.records, "exited", side=side)
    status = 0 if signal else 1
    records += swap([end], [end], signal=signal, status=status, asked=False)
    finding = find(changed(run, records), "PRE-4")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, f"{side}-died")


@pytest.mark.parametrize(
    ("loads", "outcome"), [(1, Outcome.VIOLATED), (2, Outcome.VIOLATED), (3, Outcome.VALID)]
)
def test_initial_bytes_that_are_not_known_are_acknowledged_once_they_are_loaded(loads, outcome):
    run = run_with_flag(loads)
    finding = find(run, "PRE-4")
    assert finding.outcome is outcome
    if outcome is Outcome.VIOLATED:
        assert finding.shape == "acknowledged-too-early"
        assert f"had loaded {loads << 20} of {INITIAL}" in finding.sentence
    assert find(run, "SET-9").outcome is not Outcome.VIOLATED


def test_initial_bytes_that_a_device_denies_are_not_waited_for():
    run = run_with_flag(1, (Misreport(query=Query.PRECOPY_INFO, initial_bytes=0),))
    records = swap(
        list(run.records), some(run.records, "size_answer", query="PRECOPY_INFO"), errno=0,
        sizes=[0, 0],
    )  # fmt: skip
    assert find(changed(run, records), "PRE-4").outcome is Outcome.VALID


@pytest.mark.parametrize(
    ("why", "outcome"),
    [
        ("VFIO_FD9: Failed to query its size", Outcome.VALID),
        ("Out of memory", Outcome.VIOLATED),
    ],
)
def test_migration_may_fail_with_an_error_that_names_the_device(why, outcome):
    run = good("arc refused")
    spec = device(size=1000, misreports=FAILS)
    failed = one(run.records, "arc", errno=5)
    body = answer(Query.DATA_SIZE, 2, left=1000, planned=True)
    records = [
        Record.of(failed.t_ns, SRC, body, "vfio0") if record is failed else record
        for record in run.records
    ]
    reply = one(records, "return", command="query-migrate", side="source")
    records = swap(records, [reply], value={"status": "failed", "error-desc": why})
    found = changed(type(run)(scenario(spec), run.manifest, records), records)
    assert find(found, "PRE-4").outcome is outcome
    assert "LIF-5" in judge(found).not_applicable


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "no device misreports its sizes"),
        ({"misreports": FAILS, "load": LoadBehaviour(error_at=0)}, "a device may fail another"),
        (
            {
                "misreports": FAILS,
                "refuses": (RefusedArc(side="source", to=MigrationState.STOP_COPY),),
            },
            "a device may fail another",
        ),
    ],
)
def test_where_it_does_not_apply(fields, why):
    run = completed(scenario(device(size=1000, **fields)))
    assert judge(run).not_applicable["PRE-4"].startswith(why)
