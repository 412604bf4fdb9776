"""SET-11: what cannot be combined is refused early, with its reason; what can be, works."""

import msgspec
import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history import Kind, Record
from harness.history.process import Exited, Launched, ZeroCopySends
from harness.history.records import Side
from harness.history.session import Action, Continued
from harness.scenario import Transport
from tests.twins.damage import change, one, pick, some, swap
from tests.twins.twin import twin
from tests.unit.check.histories import (
    AUTO,
    DST,
    SRC,
    UNSUPPORTED,
    blocked,
    changed,
    completed,
    device,
    evidence_of,
    find,
    good,
    only,
    refused,
    scenario,
    without,
)
from tests.unit.check.lives import STOP
from tests.unit.check.story import FACTS, Story, history

CPR = {"parameters": {"mode": "cpr-transfer"}}
REBOOT = {"parameters": {"mode": "cpr-reboot"}}
SUSPENDED = "VFIO device only supports cpr-reboot for runstate suspended"
NO_CHANNEL = "missing 'cpr' migration channel"
NOT_WITH_MULTIFD = "Postcopy is not yet compatible with multifd"


def not_set(said: str, fields):
    """``migrate-set-capabilities`` is refused on both sides, and nothing more is asked."""
    story = Story()
    for side in (SRC, DST):
        story.put(side, Launched(argv=["qemu-system-x86_64"], pid=7))
        story.qmp(side, "migrate-set-capabilities", error=said)
        story.quit(side)
    return history(scenario(**fields), story.records)


def with_status(run, status: str, side=Side.SOURCE):
    at = one(run.records, "error").t_ns
    told = Record(at, side, Kind.QMP, "MIGRATION", {"status": status})
    return changed(run, [*run.records, told])


@twin("SET-11", "RUN", on="cpr")
def combination_that_completes(records: list[Record]) -> list[Record]:
    error = one(records, "error", command="migrate")
    told = [
        msgspec.structs.replace(error, side=side, name="MIGRATION", args={"status": "completed"})
        for side in (Side.SOURCE, Side.DESTINATION)
    ]
    return [record for record in records if record is not error] + told


@twin("SET-11", on="cpr")
def source_that_stops_at_the_refusal(records: list[Record]) -> list[Record]:
    answers = [r for r in some(records, "return", command="query-status") if r.side is Side.SOURCE]
    return swap(records, answers, value={"status": "paused", "running": False})


@twin("SET-11", on="cpr")
def migration_that_is_begun_before_the_refusal(records: list[Record]) -> list[Record]:
    error = one(records, "error", command="migrate")
    begun = msgspec.structs.replace(error, name="MIGRATION", args={"status": "active"})
    return [*records, change(begun, t_ns=error.t_ns - 1)]


@twin("SET-11", on="zero copy")
def zero_copy_that_is_accepted_and_not_used(records: list[Record]) -> list[Record]:
    return swap(records, some(records, "zero_copy_sends"), count=0, sockets=0)


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (lambda: good("cpr"), NO_CHANNEL),
        (
            lambda: blocked(
                scenario(capabilities={"postcopy-ram": True}, multifd=False),
                "vfio0: VFIO migration is not supported with postcopy migration",
            ),
            "vfio0: VFIO migration is not supported with postcopy migration",
        ),
        (lambda: refused(scenario(multifd=False, **REBOOT), SUSPENDED), SUSPENDED),
        (
            lambda: not_set(NOT_WITH_MULTIFD, {"capabilities": {"postcopy-ram": True}}),
            NOT_WITH_MULTIFD,
        ),
    ],
)
def test_refusal_with_its_reason(run, said):
    finding = find(run(), "SET-11")
    assert finding.outcome is Outcome.VALID, finding.sentence
    assert said in str(finding.numbers["said"])


def test_capability_that_works_with_the_transfer():
    run = completed(scenario(capabilities={"auto-converge": True}))
    assert find(run, "SET-11").outcome is Outcome.VALID


def test_viommu_that_works():
    newer = msgspec.structs.replace(FACTS, version=(11, 0, 0), version_text="11.0.0")
    wanted = scenario(device(dma_logging=False), qemu_args=("-device", "intel-iommu"))
    finding = find(completed(wanted, facts=newer), "SET-11")
    assert finding.outcome is Outcome.VALID, finding.sentence
    assert "intel-iommu" in finding.sentence


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (lambda: completed(scenario()), "nothing is set"),
        (lambda: refused(scenario(multifd=False), UNSUPPORTED), "for no combination"),
        (
            lambda: not_set(
                "Parameter 'multifd_zlib_level' expects a value between 0 and 9",
                {"parameters": {"multifd-zlib-level": 10}},
            ),
            "for no combination",
        ),
        (lambda: good("blocked"), "can be combined"),
    ],
)
def test_what_it_is_not_about(run, why):
    assert why in judge(run()).not_applicable["SET-11"]


def test_device_that_cannot_migrate_blocks_no_mode_of_cpr():
    """Its blocker is one of the mode ``normal``: the mode's own refusal is right."""
    run = blocked(scenario(device(stop_copy=False, enable_migration=AUTO), **CPR), NO_CHANNEL)
    assert find(run, "SET-11").outcome is Outcome.VALID


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (NO_CHANNEL, Outcome.VALID),
        ("Device or resource busy", Outcome.UNKNOWN),
        ("VFIO_FD9: Migration is disabled for VFIO device", Outcome.UNKNOWN),
        ("", Outcome.VIOLATED),
    ],
)
def test_only_its_own_words_are_a_reason(said, outcome):
    assert find(blocked(scenario(**CPR), said), "SET-11").outcome is outcome


@pytest.mark.parametrize("status", ["active", "device", "completed"])
def test_source_that_had_begun(status):
    finding = find(with_status(good("cpr"), status), "SET-11")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.shape == "migration-begun"


def test_setup_is_no_beginning():
    run = with_status(with_status(good("cpr"), "setup"), "active", Side.DESTINATION)
    assert find(run, "SET-11").outcome is Outcome.VALID


def test_device_whose_state_was_begun():
    run = good("cpr")
    at = one(run.records, "error").t_ns
    begun = Record(at, Side.SOURCE, Kind.TRACE, "vfio_save_setup", {"name": "vfio0"}, "vfio0")
    finding = find(changed(run, [*run.records, begun]), "SET-11")
    assert finding.outcome is Outcome.VIOLATED
    assert evidence_of(finding)[0].name == "vfio_save_setup"


def test_source_that_crashes_instead_is_for_run_to_judge():
    run = refused(scenario(**REBOOT), SUSPENDED)
    last = only(run, "exited", side=Side.SOURCE)[-1]
    died = msgspec.structs.replace(last, args=Exited(status=-11, signal=11, asked=False))
    records = [died if record is last else record for record in run.records]
    verdict = judge(changed(run, records))
    assert list(verdict.with_outcome(Outcome.VIOLATED)) == ["RUN"]
    finding = verdict.finding("SET-11")
    assert finding is not None
    assert finding.outcome is Outcome.UNKNOWN


def test_guest_that_was_paused_by_the_scenario_stays_so():
    run = blocked(scenario(actions=(STOP,), **CPR), NO_CHANNEL)
    answers = [
        record
        for record in only(run, "return", side=Side.SOURCE)
        if record.args["command"] == "query-status"
    ]
    value = {"status": "paused", "running": False}
    paused = swap(list(run.records), answers, value=value)
    assert find(changed(run, paused), "SET-11").outcome is Outcome.VIOLATED, "it was not paused"
    at = one(run.records, "error").t_ns - 1
    done = Record.of(at, Side.HARNESS, Action(action="", position=0))
    assert find(changed(run, [*paused, done]), "SET-11").outcome is Outcome.VALID


def test_source_that_was_not_asked():
    run = good("cpr")
    asked = pick(run.records, "execute", "return", command="query-status")
    run = changed(run, [record for record in run.records if record not in asked])
    assert find(run, "SET-11").outcome is Outcome.UNKNOWN


def test_no_record_of_a_refusal():
    run = without(good("cpr"), "error")
    assert find(run, "SET-11").outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ("auto-converge is not compatible with multifd", Outcome.VIOLATED),
        ("out of memory", Outcome.UNKNOWN),
    ],
)
def test_combination_that_must_work_and_is_refused(said, outcome):
    run = not_set(said, {"capabilities": {"auto-converge": True}})
    assert find(run, "SET-11").outcome is outcome


def test_zero_copy_that_was_used():
    finding = find(good("zero copy"), "SET-11")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["zero_copy_sends"] == 4


def test_zero_copy_that_was_not_observed():
    run = without(good("zero copy"), "zero_copy_sends")
    assert find(run, "SET-11").outcome is Outcome.UNKNOWN


def test_zero_copy_of_a_process_that_had_been_through_another_migration():
    run = good("zero copy")
    before = Record.of(run.records[0].t_ns, Side.HARNESS, Continued(after="failed"))
    assert find(changed(run, [*run.records, before]), "SET-11").outcome is Outcome.UNKNOWN


def test_zero_copy_with_nothing_to_send():
    run = completed(scenario(capabilities={"zero-copy-send": True}, transport=Transport.TCP))
    ended = only(run, "exited", side=Side.SOURCE)[-1]
    sends = Record.of(ended.t_ns, Side.SOURCE, ZeroCopySends(0, 0))
    assert find(changed(run, [*run.records, sends]), "SET-11").outcome is Outcome.UNKNOWN


def test_combination_that_loses_bytes():
    run = completed(scenario(capabilities={"auto-converge": True}))
    received = only(run, "received")
    run = changed(run, swap(list(run.records), received, first_difference=7))
    finding = find(run, "SET-11")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, "bytes-differ")


def test_combination_whose_migration_fails_is_for_run_to_judge():
    run = refused(scenario(capabilities={"auto-converge": True}), "no room", FACTS)
    assert find(run, "SET-11").outcome is Outcome.UNKNOWN
