"""STA-2: VFIO_MIGRATION events follow the device."""

import msgspec
import pytest

from harness.check.verdict import Outcome
from harness.history import Record
from harness.history.device import Reset
from tests.twins.damage import change, one, pick, swap
from tests.unit.check.histories import (
    DST,
    FACTS,
    SRC,
    changed,
    find,
    good,
    only,
    with_manifest,
    without,
)
from tests.unit.check.story import MS, START

EVENT = "VFIO_MIGRATION"


def events(run, side, device="vfio0"):
    return only(run, EVENT, side=side, device=device)


def verdict(run) -> str:
    finding = find(run, "STA-2")
    assert finding.outcome is Outcome.VIOLATED, finding.sentence
    assert finding.evidence
    return finding.sentence


def without_record(run, record):
    return changed(run, [r for r in run.records if r is not record])


@pytest.mark.parametrize(
    ("name", "count"),
    [("multifd", 4), ("pre-copy", 4), ("no p2p", 3), ("pre-copy, main channel", 4)],
)
def test_good_runs(name, count):
    finding = find(good(name), "STA-2")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["events"]["vfio0 source"] == count


def test_event_in_the_middle_that_is_missing():
    run = good("multifd")
    assert "vfio0 at the source: the event says STOP, the device was set to RUNNING_P2P" in (
        verdict(without_record(run, events(run, SRC)[0]))
    )


def test_last_event_that_is_missing_though_a_command_was_answered_since():
    run = good("multifd")
    finding = find(without_record(run, events(run, DST)[-1]), "STA-2")
    assert finding.sentence == (
        "vfio0 at the destination: no event reported that the state became RUNNING"
    )
    assert [record.name for record in finding.evidence] == ["arc", "return"]


def test_last_event_that_may_be_under_way():
    """The VM stops while QEMU quits; nobody was answered after that."""
    run = good("multifd")
    quit_ns = one(run.records, "execute", side=DST, command="quit").t_ns
    arc = one(run.records, "arc", side=DST, device="vfio0")
    late = change(arc, t_ns=quit_ns + MS, state="RUNNING_P2P")
    assert find(changed(run, [*run.records, late]), "STA-2").outcome is Outcome.VALID


def test_event_without_a_change():
    run = good("multifd")
    again = change(events(run, DST)[-1], t_ns=run.records[-1].t_ns)
    finding = find(changed(run, [*run.records, again]), "STA-2")
    assert "the event says running, but the device's state was not changed" in finding.sentence


def test_event_of_another_state():
    run = good("multifd")
    wrong = swap(list(run.records), events(run, DST)[:1], **{"device-state": "stop-copy"})
    assert "the event says STOP_COPY, the device was set to RESUMING" in (
        verdict(changed(run, wrong))
    )


def test_change_that_the_state_machine_does_not_have():
    run = good("multifd")
    stop_copy = one(run.records, "arc", side=SRC, device="vfio0", state="STOP_COPY")
    told = events(run, SRC)[2]
    wrong = swap(list(run.records), [stop_copy], state="PRE_COPY")
    wrong = swap(wrong, [told], **{"device-state": "pre-copy"})
    assert "from STOP to PRE_COPY is no legal change" in verdict(changed(run, wrong))


def test_state_that_the_device_lacks():
    run = good("no p2p")
    arc = one(run.records, "arc", side=DST, state="RUNNING")
    wrong = swap(list(run.records), [arc], state="RUNNING_P2P")
    wrong = swap(wrong, events(run, DST)[-1:], **{"device-state": "running-p2p"})
    assert "no legal change" in verdict(changed(run, wrong))


# -- before the first command ------------------------------------------------------------


def test_changes_before_the_first_command_may_be_untold():
    run = good("multifd")
    first = next(r for r in run.records if r.side is SRC and r.name == "execute")
    early = [r for r in only(run, "arc", side=SRC) if r.t_ns < first.t_ns]
    assert len(early) == 4
    assert find(run, "STA-2").outcome is Outcome.VALID


def test_changes_before_the_first_command_may_be_told():
    run = good("multifd")
    running = one(run.records, "arc", side=SRC, device="vfio0", state="RUNNING")
    told = change(events(run, SRC)[0], t_ns=running.t_ns + 1, **{"device-state": "running"})
    assert find(changed(run, [*run.records, told]), "STA-2").outcome is Outcome.VALID


def test_told_changes_before_the_first_command_must_be_right():
    run = good("multifd")
    told = change(events(run, SRC)[0], t_ns=START + 1, **{"device-state": "stop"})
    assert verdict(changed(run, [*run.records, told]))


# -- what failed -------------------------------------------------------------------------


def failing(run, *more: Record):
    """The destination's last change failed first, and was tried again."""
    arc = one(run.records, "arc", side=DST, device="vfio0")
    failed = change(arc, t_ns=arc.t_ns - 3, errno=5, path=[])
    return changed(run, [*run.records, failed, *more])


def test_change_that_failed_has_no_event():
    assert find(failing(good("multifd")), "STA-2").outcome is Outcome.VALID


def test_reset_after_a_failure_is_told_as_running():
    run = good("multifd")
    arc = one(run.records, "arc", side=DST, device="vfio0")
    reset = Record.of(arc.t_ns - 2, DST, Reset(), "vfio0")
    told = change(events(run, DST)[-1], t_ns=arc.t_ns - 1)
    assert find(failing(run, reset, told), "STA-2").outcome is Outcome.VALID
    assert "no event" in verdict(without_record(failing(run, reset), events(run, DST)[-1]))


def test_reset_of_its_own_is_no_change():
    run = good("multifd")
    reset = Record.of(START + 5, DST, Reset(), "vfio0")
    assert find(changed(run, [*run.records, reset]), "STA-2").outcome is Outcome.VALID


# -- QEMU 11.1 ---------------------------------------------------------------------------


def announced(state: str):
    run = good("pre-copy")
    told = next(e for e in events(run, SRC) if e.args["device-state"] == "pre-copy-p2p")
    before = change(told, t_ns=told.t_ns - 1, **{"device-state": f"{state}-prepare"})
    return changed(run, [*run.records, before])


def test_state_that_was_announced():
    assert find(announced("pre-copy-p2p"), "STA-2").outcome is Outcome.VALID


def test_announcement_of_another_state():
    assert "pre-copy-p2p was reported after another state was announced" in (
        verdict(announced("running-p2p"))
    )


# -- unknown -----------------------------------------------------------------------------


def test_device_whose_changes_nobody_saw():
    finding = find(without(good("multifd"), EVENT, "arc", device="vfio1"), "STA-2")
    assert finding.outcome is Outcome.UNKNOWN
    assert "no change of vfio1's state was seen" in finding.sentence


def test_qemu_without_the_events():
    old = msgspec.structs.replace(FACTS, version=(9, 0, 0), version_text="9.0.0")
    finding = find(with_manifest(good("compression"), destination=old), "STA-2")
    assert finding.outcome is Outcome.UNKNOWN
    assert "the destination QEMU has no VFIO_MIGRATION events: 9.0.0" in finding.sentence


def test_all_events_missing_is_a_violation():
    run = without(good("multifd"), EVENT)
    assert "no event reported that the state became" in verdict(run)
    assert pick(run.records, "arc")
