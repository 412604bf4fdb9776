"""REF-12: the limit of queued bytes is kept, and below it has no effect."""

import pytest

from harness.check.judge import judge
from harness.check.prediction_input import LIMIT
from harness.check.verdict import Outcome
from harness.history.process import Stderr
from harness.scenario import MIB, LoadBehaviour, SaveBehaviour
from tests.unit.check.histories import completed, find, good
from tests.unit.check.lives import Life
from tests.unit.check.relayed import Relayed, packet, whole
from tests.unit.check.story import DST, SRC, device, scenario

TEXT = "vfio0: queuing state buffer 3 would exceed the size max of 9"


def limited(limit, *packets):
    story = Relayed(scenario(device(properties={LIMIT: limit})))
    story.send()
    story.fault("hold")
    story.deliver(*packets)
    return story


def test_limit_that_is_kept():
    assert find(good("over the limit"), "REF-12").outcome is Outcome.VALID


def test_limit_that_is_ignored_while_a_packet_is_missing():
    finding = find(limited(2 * MIB, *whole()[1:]).waits(), "REF-12")
    assert finding.outcome is Outcome.VIOLATED


def test_limit_that_may_have_been_reached_is_not_asked_where_it_completes():
    run = limited(2 * MIB, *whole()).completed()
    assert "too late to matter, or may be accepted" in judge(run).not_applicable["REF-12"]


def test_limit_that_cannot_be_reached_has_no_effect():
    finding = find(limited(64 * MIB, *whole()).completed(), "REF-12")
    assert finding.sentence == "a limit that was not reached had no effect"


def test_limit_that_cannot_be_reached_is_told_as_the_reason():
    assert find(limited(64 * MIB, *whole()).refused(TEXT), "REF-12").outcome is Outcome.VIOLATED


def test_failure_for_another_reason_is_unknown():
    run = limited(64 * MIB, packet(1), *whole()).refused("vfio0: state buffer 1 already filled")
    assert find(run, "REF-12").outcome is Outcome.UNKNOWN


def test_device_without_a_limit_is_not_asked():
    assert (
        judge(good("duplicate")).not_applicable["REF-12"] == "no device has a limit of queued bytes"
    )


# -- a slow device, and no fault on the way -----------------------------------------------

SLOW = "vfio0: queuing state buffer 2 would exceed the size max of 2097152"


def slow(limit: int, text: str = SLOW, **fields):
    """The destination fails with ``text``; the source sees its connection go."""
    life = Life(scenario(device(properties={LIMIT: limit}, **fields)), ("setup", "active"))
    life.status(DST, "active", "failed")
    life.status(SRC, "device", "failed")
    life.qmp(SRC, "query-migrate", {"status": "failed", "error-desc": "Broken pipe"})
    life.qmp(DST, "query-migrate", {"status": "failed", "error-desc": text})
    life.end("inmigrate")
    return life.history()


def test_limit_that_a_slow_device_meets_is_a_right_refusal():
    verdict = judge(slow(2 * MIB))
    assert verdict.overall is Outcome.VALID
    finding = verdict.finding("REF-12")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["said"] == SLOW
    assert verdict.finding("REF-11").numbers["said"] == SLOW


def test_refusal_that_the_destination_did_not_tell_of_is_no_evidence():
    verdict = judge(slow(2 * MIB, "Input/output error"))
    assert verdict.finding("RUN").outcome is Outcome.VIOLATED
    assert "is not known" in verdict.not_applicable["REF-12"]


def test_destinations_reason_is_shown_beside_the_sources():
    finding = find(slow(64 * MIB), "RUN")
    assert finding.outcome is Outcome.VIOLATED
    assert "the source reports failed: Broken pipe; the destination reports: vfio0: queuing" in (
        finding.sentence
    )


@pytest.mark.parametrize("limit", [5 * MIB, 64 * MIB])
def test_limit_that_no_speed_can_meet_was_not_met(limit):
    assert find(slow(limit), "REF-12").outcome is Outcome.VIOLATED


def test_small_packets_have_headers_that_may_count():
    """4 MiB in packets of a byte may be 52 MiB."""
    small = SaveBehaviour(read_sizes=(1,))
    assert find(slow(5 * MIB, save=small), "REF-12").outcome is Outcome.VALID


def test_state_that_is_smaller_than_the_limit_is_seen_to_pass():
    run = completed(scenario(device(properties={LIMIT: 64 * MIB})))
    assert find(run, "REF-12").outcome is Outcome.VALID


def test_state_that_is_larger_and_completes_tells_nothing():
    run = completed(scenario(device(properties={LIMIT: 2 * MIB})))
    assert "is not known" in judge(run).not_applicable["REF-12"]


def test_slow_device_that_meets_it_and_hangs():
    life = Life(scenario(device(properties={LIMIT: 2 * MIB})), ("setup", "active"))
    life.status(DST, "active")
    life.put(DST, Stderr(line=f"2023-11-14T22:13:20.000001Z qemu: {SLOW}"))
    life.hangs(DST)
    life.quit(SRC)
    life.quit(DST)
    finding = find(life.history(), "REF-12")
    assert finding.outcome is Outcome.VIOLATED
    assert "had not failed by the deadline" in finding.sentence


def test_migration_that_fails_for_what_its_device_does_is_not_asked():
    spec = device(properties={LIMIT: 64 * MIB}, load=LoadBehaviour(error_at=0))
    assert "device error" in judge(completed(scenario(spec))).not_applicable["REF-12"]
