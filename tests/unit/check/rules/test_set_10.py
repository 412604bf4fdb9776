"""SET-10: settings that differ between the sides are refused within seconds, or work."""

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.process import Exited
from harness.history.records import Kind, Record
from harness.history.session import Deadline
from tests.twins.damage import one, swap
from tests.unit.check.histories import changed, completed, find, good, scenario, without
from tests.unit.check.lives import called_off, ended, not_converging
from tests.unit.check.sides import MACHINES, OTHER_DEVICE, refused_by_destination
from tests.unit.check.story import DST, SRC, device


def test_refusal_on_both_sides_is_right_and_its_reason_is_reported():
    finding = find(good("other machine"), "SET-10")
    assert finding.outcome is Outcome.VALID
    assert "machine of the destination" in finding.sentence


@pytest.mark.parametrize("there", [{"channels": 2}, {"return_path": False}, {"machine": "pc"}])
def test_migration_that_works_is_right_too(there):
    run = completed(scenario(destination=there))
    finding = find(run, "SET-10")
    assert finding.outcome is Outcome.VALID, finding.sentence
    assert find(run, "RUN").outcome is Outcome.VALID


def test_completed_with_other_bytes_is_violated():
    run = completed(scenario(destination={"channels": 2}))
    received = one(run.records, "received")
    damaged = changed(run, swap(list(run.records), [received], first_difference=7))
    finding = find(damaged, "SET-10")
    assert (finding.outcome, finding.shape) == (
        Outcome.VIOLATED,
        "bytes-differ-source-has-more-channels",
    )


def test_completed_with_bytes_that_nobody_compared_is_unknown():
    run = without(completed(scenario(destination={"channels": 2})), "received")
    assert find(run, "SET-10").outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"channels": 4, "destination": {"channels": 2}}, "source-has-more-channels"),
        ({"channels": 2, "destination": {"channels": 4}}, "source-has-fewer-channels"),
        ({"destination": {"multifd": False}}, "multifd-at-the-source-only"),
        ({"multifd": False, "destination": {"multifd": True}}, "multifd-at-the-destination-only"),
        ({"destination": {"machine": "pc"}}, "settings-differ"),
    ],
)
def test_hang_is_named_by_what_differs(fields, kind):
    spec = device(multifd_transfer=None)
    run = refused_by_destination(scenario(spec, **fields), f"qemu: {MACHINES}")
    end = one(run.records, "MIGRATION", side=SRC, status="failed")
    late = Deadline(waiting_for="the end of source", deadline_s=9.0, waited_s=9.0)
    kept = without(without(run, "MIGRATION"), "stderr")
    hung = changed(kept, [*kept.records, Record.of(end.t_ns, SRC, late)])
    finding = find(hung, "SET-10")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, f"did-not-end-{kind}")


def test_end_by_a_signal_is_violated_and_by_a_status_is_not():
    run = good("other machine")
    end = one(run.records, "exited", side=DST)
    for args, outcome in (
        ({"status": -1, "signal": 11}, Outcome.VIOLATED),
        ({"status": 1, "signal": 0}, Outcome.VALID),
    ):
        died = Record.of(end.t_ns, DST, Exited(**args, asked=False))
        other = changed(run, [died if r is end else r for r in run.records])
        assert find(other, "SET-10").outcome is outcome


def test_side_whose_end_was_not_seen_is_unknown():
    run = good("other machine")
    kept = [r for r in run.records if not (r.name == "MIGRATION" and r.side is DST)]
    kept = [r for r in kept if not (r.name == "return" and r.side is DST)]
    assert find(changed(run, kept), "SET-10").outcome is Outcome.UNKNOWN


def test_settings_that_are_the_same_are_not_judged():
    assert judge(good("multifd")).finding("SET-10") is None
    assert judge(good("other device")).finding("SET-10") is None


def test_device_and_settings_that_both_differ_are_not_judged():
    run = refused_by_destination(
        scenario(device(), destination={**OTHER_DEVICE, "channels": 2}), "qemu: no"
    )
    verdict = judge(run)
    assert verdict.finding("SET-10") is verdict.finding("ORD-9") is None
    assert verdict.overall is Outcome.UNKNOWN


# -- pre-copy, and RAM ---------------------------------------------------------------------


def waiting_for_ack(there: bool, *, pending: int = 1000, loaded: bool = True):
    """Only the source has switchover-ack, unless ``there``; it stays in pre-copy."""
    life = not_converging(60, pending)
    on, off = {"switchover-ack": True}, {"switchover-ack": there}
    life.scenario = scenario(capabilities=on, destination={"capabilities": off, "channels": 2})
    if not loaded:
        life.records = [r for r in life.records if r.side is not DST or r.name != "MIGRATION"]
    else:
        first = one(life.records, "MIGRATION", side=SRC, status="active")
        told = {"status": "active"}
        life.records.append(Record(first.t_ns, DST, Kind.QMP, "MIGRATION", told))
    return judge(ended(called_off(life))).finding("SET-10")


def test_source_that_waits_for_an_ack_that_only_it_knows_is_violated():
    finding = waiting_for_ack(there=False)
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, "waits-for-switchover-ack")


def test_source_with_more_pending_than_allowed_is_unknown():
    assert waiting_for_ack(there=False, pending=64 << 20).outcome is Outcome.UNKNOWN


def test_destination_that_had_not_begun_is_no_evidence():
    assert waiting_for_ack(there=False, loaded=False).outcome is Outcome.UNKNOWN


def test_pre_copy_of_other_differences_is_not_judged():
    assert waiting_for_ack(there=True) is None


def test_ram_of_another_size_must_be_refused():
    planned = scenario(destination={"ram_mib": 512})
    finding = find(completed(planned), "SET-10")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, "accepted-ram-size")
    said = "qemu: Size mismatch: pc.ram: 0x20000000 != 0x10000000: Invalid argument"
    assert find(refused_by_destination(planned, said), "SET-10").outcome is Outcome.VALID
