"""ORD-4: the MSI-X interrupts of a device get over a migration."""

import pytest

from harness.check.verdict import Outcome
from harness.history.guest import Interrupts
from harness.history.records import Kind, Record
from harness.scenario.interrupts import At, Fire
from tests.twins.damage import drop, one, pick, some, swap
from tests.twins.twin import twin
from tests.unit.check.guests import guest_scenario, with_guest
from tests.unit.check.histories import (
    DST,
    SRC,
    changed,
    completed,
    evidence_of,
    find,
    good,
    only,
    scenario,
    with_args,
    without,
)
from tests.unit.check.interrupted import interrupting, with_interrupts


@twin("ORD-4", on="interrupts")
def interrupt_that_is_taken_once_all_is_sent(records: list[Record]) -> list[Record]:
    seen = some(records, "guest_interrupts", side=DST, moment="after")
    return swap(records, seen, arrived=[0, 2])


@twin("ORD-4", on="interrupts")
def vectors_that_are_not_armed_again(records: list[Record]) -> list[Record]:
    return swap(records, some(records, "armed", side=DST), vectors=[], errno=5)


@twin("ORD-4", on="interrupts")
def table_that_is_not_restored(records: list[Record]) -> list[Record]:
    return swap(records, some(records, "guest_interrupts", side=DST), programmed=[])


@twin("ORD-4", on="masked interrupts")
def pending_bits_that_read_as_0(records: list[Record]) -> list[Record]:
    seen = some(records, "guest_interrupts", side=DST, moment="after")
    return swap(records, seen, pending=[])


@twin("ORD-4", on="masked interrupts")
def pending_bits_that_are_not_sent(records: list[Record]) -> list[Record]:
    return swap(records, some(records, "guest_interrupts", side=DST), pending=[], arrived=[2])


@pytest.mark.parametrize("name", ["interrupts", "masked interrupts"])
def test_all_arrive(name):
    finding = find(good(name), "ORD-4")
    assert finding.outcome is Outcome.VALID, finding.sentence
    assert finding.numbers["interrupts_arrived"] == 3


@pytest.mark.parametrize(
    ("name", "fields", "args", "shape"),
    [
        ("interrupts", {"moment": "after"}, {"arrived": [0, 2]}, "interrupt-lost"),
        ("interrupts", {"moment": "after"}, {"arrived": [0, 1]}, "interrupt-lost"),
        ("masked interrupts", {"moment": "unmasked"}, {"arrived": [0, 2]}, "interrupt-lost"),
        ("masked interrupts", {"moment": "after"}, {"pending": [2]}, "pending-bits-not-shown"),
        ("interrupts", {"moment": "after"}, {"programmed": [0, 2]}, "msix-table-differs"),
    ],
)
def test_what_the_guest_does_not_see(name, fields, args, shape):
    run = good(name)
    (seen,) = pick(run.records, "guest_interrupts", side=DST, **fields)
    finding = find(with_args(run, seen, **args), "ORD-4")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.shape == shape
    assert len(evidence_of(finding)) > 1


def test_lost_interrupt_that_the_source_has_is_shown_there():
    run = good("interrupts")
    (seen,) = pick(run.records, "guest_interrupts", side=DST)
    finding = find(with_args(run, seen, arrived=[0, 2]), "ORD-4")
    assert "vector 1, fired by the source's device while it ran (stopping)" in finding.sentence
    assert "the source has it" in finding.sentence
    assert [record.name for record in finding.evidence].count("guest_interrupts") == 2


def test_vectors_that_the_guest_has_masked_need_not_be_armed():
    run = good("masked interrupts")
    assert not one(run.records, "armed", side=DST, vectors=[]).args.vectors
    assert find(run, "ORD-4").outcome is Outcome.VALID


def test_masked_interrupt_that_the_device_itself_holds_may_be_shown_by_it_alone():
    """QEMU has not taken it: what the device's own bits show is the device's doing."""
    run = good("masked interrupts")
    (seen,) = pick(run.records, "guest_interrupts", side=DST, moment="after")
    assert find(with_args(run, seen, pending=[0, 1]), "ORD-4").outcome is Outcome.VALID


def test_vectors_without_evidence_are_unknown():
    run = good("interrupts")
    blind = changed(run, drop(list(run.records), "guest_interrupts", side=DST))
    finding = find(blind, "ORD-4")
    assert finding.outcome is Outcome.UNKNOWN
    assert "whether its interrupts arrived was not seen" in finding.sentence
    masked = good("masked interrupts")
    half = changed(masked, drop(list(masked.records), "guest_interrupts", moment="unmasked"))
    assert find(half, "ORD-4").outcome is Outcome.UNKNOWN


def test_interrupt_that_never_worked_is_unknown():
    run = good("interrupts")
    (early,) = pick(run.records, "guest_interrupts", side=SRC, moment="before")
    finding = find(with_args(run, early, arrived=[]), "ORD-4")
    assert finding.outcome is Outcome.UNKNOWN
    assert "vector 0 never worked at the source" in finding.sentence


def test_interrupt_of_a_vector_that_was_never_armed_need_not_arrive():
    run = good("interrupts")
    (fired,) = only(run, "fired", side=SRC)[1:]
    (seen,) = pick(run.records, "guest_interrupts", side=DST)
    unarmed = with_args(with_args(run, seen, arrived=[0, 2]), fired, armed=False)
    assert find(unarmed, "ORD-4").outcome is Outcome.VALID


def test_interrupt_that_was_not_fired_makes_the_run_unknown():
    finding = find(without(good("interrupts"), "fired"), "RUN")
    assert finding.outcome is Outcome.UNKNOWN
    assert "vector 1 was not fired (stopping)" in finding.sentence


def test_vectors_that_were_not_refused_make_the_run_unknown():
    spec = interrupting(arm_errno=5, fires=(Fire(at=At.BEFORE),))
    finding = find(with_interrupts(completed(scenario(spec))), "RUN")
    assert finding.outcome is Outcome.UNKNOWN
    assert "the destination did not arm its vectors" in finding.sentence


def test_guest_that_was_reset_has_set_its_vectors_anew():
    run = good("interrupts")
    (seen,) = pick(run.records, "guest_interrupts", side=DST)
    lost = with_args(run, seen, arrived=[])
    reset = Record(seen.t_ns - 1, DST, Kind.QMP, "RESET", {"guest": True})
    assert find(changed(lost, [*lost.records, reset]), "ORD-4").outcome is not Outcome.VIOLATED


# -- shown by a guest -------------------------------------------------------------------------


def shown(here=(0,), there=(0, 1, 2), **fields):
    """A guest lists its interrupts on both consoles."""
    spec = interrupting(size=100_000, **fields)
    plain = with_interrupts(completed(guest_scenario(spec)))
    run = with_guest(changed(plain, drop(list(plain.records), "guest_interrupts")))
    begun = pick(run.records, "fired", vector=0)[0]
    ended = pick(run.records, "fired", vector=2)[0]
    return changed(
        run,
        [
            *run.records,
            Record.of(begun.t_ns + 1, SRC, Interrupts(spec.id, list(here))),
            Record.of(ended.t_ns + 1, DST, Interrupts(spec.id, list(there))),
        ],
    )


def test_guest_that_sees_them_all():
    finding = find(shown(), "ORD-4")
    assert finding.outcome is Outcome.VALID, finding.sentence
    assert finding.numbers["interrupts_arrived"] == 3


def test_guest_that_misses_one():
    finding = find(shown(there=(0, 2)), "ORD-4")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.shape == "interrupt-lost"
    assert "vector 1" in finding.sentence


def test_guest_whose_vectors_are_not_armed_again():
    run = shown()
    bad = changed(run, swap(list(run.records), pick(run.records, "armed", side=DST), vectors=[]))
    finding = find(bad, "ORD-4")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, "vectors-not-armed")


def test_guest_that_says_nothing_of_them_or_never_had_one_is_unknown():
    silent = without(shown(), "interrupts", side=DST)
    assert find(silent, "ORD-4").outcome is Outcome.UNKNOWN
    assert find(shown(here=(), there=(1, 2)), "ORD-4").outcome is Outcome.UNKNOWN
