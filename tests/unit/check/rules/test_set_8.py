"""SET-8: a device that cannot migrate blocks migration, with a reason, before all else."""

import msgspec
import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history import Kind, Record, Side
from harness.history import device as device_record
from harness.history.rundir import History
from harness.history.session import Action
from harness.scenario import OnOffAuto
from harness.scenario.devices import VfioUserDevice
from harness.scenario.vfio_user import VfioUserClient
from tests.twins.damage import one, swap
from tests.unit.check.histories import (
    DISABLED,
    DST,
    NOT_IN_KERNEL,
    SRC,
    blocked,
    changed,
    completed,
    device,
    find,
    good,
    launch_refused,
    scenario,
    without,
)
from tests.unit.check.lives import STOP

OFF, AUTO = OnOffAuto.OFF, OnOffAuto.AUTO


def with_record(run, side, name, *, kind=Kind.QMP, device="", **args):
    at = one(run.records, "error").t_ns
    return changed(run, [*run.records, Record(at, side, kind, name, args, device)])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"enable_migration": OFF}, DISABLED),
        ({"enable_migration": AUTO, "stop_copy": False}, NOT_IN_KERNEL),
        (
            {"enable_migration": AUTO, "dma_logging": False},
            "VFIO_FD9: VFIO device doesn't support device and IOMMU dirty tracking",
        ),
    ],
)
def test_migrate_is_refused_with_a_reason(fields, reason):
    finding = find(blocked(scenario(device(**fields)), reason), "SET-8")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers["said"] == reason


def test_device_that_can_migrate_is_not_asked():
    assert judge(completed(scenario())).not_applicable["SET-8"] == "all devices can migrate"


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ("VFIO_FD9: Migration is disabled for VFIO device", Outcome.VALID),
        ("VFIO_FD9: VFIO migration is not supported with postcopy migration", Outcome.UNKNOWN),
        ("vfio0: no room left", Outcome.UNKNOWN),
        ("Device or resource busy", Outcome.UNKNOWN),
        ("", Outcome.VIOLATED),
    ],
)
def test_only_its_own_words_are_a_reason(said, outcome):
    run = blocked(scenario(device(enable_migration=OFF)), said)
    finding = find(run, "SET-8")
    assert finding.outcome is outcome


def test_migrate_that_is_accepted():
    run = good("blocked")
    refusal = one(run.records, "error")
    accepted = Record(refusal.t_ns, SRC, Kind.QMP, "return", {"command": "migrate", "value": {}})
    records = [accepted if r is refusal else r for r in run.records]
    finding = find(changed(run, records), "SET-8")
    assert finding.outcome is Outcome.VIOLATED
    assert "migrate was accepted" in finding.sentence


@pytest.mark.parametrize(
    ("side", "name", "fields"),
    [
        (SRC, "MIGRATION", {"status": "setup"}),
        (SRC, "MIGRATION", {"status": "active"}),
        (SRC, "vfio_save_setup", {"kind": Kind.TRACE, "device": "vfio0"}),
        (
            DST,
            "vfio_load_state_device_buffer_incoming",
            {"kind": Kind.TRACE, "device": "vfio0", "idx": 0},
        ),
    ],
)
def test_migration_that_was_begun_all_the_same(side, name, fields):
    finding = find(with_record(good("blocked"), side, name, **fields), "SET-8")
    assert finding.outcome is Outcome.VIOLATED
    assert "was begun" in finding.sentence
    assert finding.evidence[0].name == name


def test_migration_of_qemus_own_client_that_was_begun_is_another_bug():
    """A vfio-pci that does not block is not excused by what vfio-user-pci is known for."""
    run = good("blocked")
    kind = VfioUserDevice(
        id="vfio0",
        client=VfioUserClient.QEMU,
        enable_migration=AUTO,
        multifd_transfer=None,
    )
    without_any = device_record.Abilities(
        stop_copy=False, p2p=False, pre_copy=False, dma_logging=False
    )
    at = run.records[0].t_ns
    records = [*run.records, Record.of(at, SRC, without_any, "vfio0")]
    own = History(msgspec.structs.replace(run.scenario, devices=(kind,)), run.manifest, records)
    for history, shape in ((own, "vfio-user-migration-begun"), (run, "migration-begun")):
        begun = with_record(history, SRC, "MIGRATION", status="setup")
        finding = find(begun, "SET-8")
        assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, shape)


def test_destination_that_listens_has_begun_nothing():
    run = with_record(good("blocked"), DST, "MIGRATION", status="setup")
    assert find(run, "SET-8").outcome is Outcome.VALID


def test_source_that_stopped():
    run = good("blocked")
    answer = one(run.records, "return", side=SRC, command="query-status")
    stopped = swap(list(run.records), [answer], value={"status": "paused", "running": False})
    finding = find(changed(run, stopped), "SET-8")
    assert finding.outcome is Outcome.VIOLATED
    assert "the source's VM stopped" in finding.sentence


def test_source_that_the_scenario_has_paused_was_stopped_all_the_time():
    run = good("blocked")
    records = list(run.records)
    answer = one(records, "return", side=SRC, command="query-status")
    records = swap(records, [answer], value={"status": "paused", "running": False})
    acted = Record.of(run.records[0].t_ns, Side.HARNESS, Action(action="", position=0))  # fmt: skip
    planned = msgspec.structs.replace(run.scenario, actions=(STOP,))
    found = find(History(planned, run.manifest, [*records, acted]), "SET-8")
    assert found.outcome is Outcome.VALID


def test_source_that_nobody_asked_about_is_unknown():
    run = good("blocked")
    asked = one(run.records, "return", side=SRC, command="query-status")
    finding = find(changed(run, [r for r in run.records if r is not asked]), "SET-8")
    assert finding.outcome is Outcome.UNKNOWN
    assert "whether the source runs on was not checked" in finding.sentence


def test_no_answer_to_migrate_is_unknown():
    assert find(without(good("blocked"), "error"), "SET-8").outcome is Outcome.UNKNOWN


def test_a_trace_is_not_needed():
    run = good("blocked")
    untraced = changed(run, [r for r in run.records if r.kind is not Kind.TRACE])
    assert find(untraced, "SET-8").outcome is Outcome.VALID


# -- at start ----------------------------------------------------------------------------


def test_refusal_at_start_with_a_reason():
    finding = find(good("launch refused"), "SET-8")
    assert finding.outcome is Outcome.VALID
    assert NOT_IN_KERNEL in finding.numbers["said"]


def test_refusal_at_start_for_something_else_is_unknown():
    said = "Property not found"
    finding = find(launch_refused(scenario(device(stop_copy=False)), said), "SET-8")
    assert finding.outcome is Outcome.UNKNOWN


def test_refusal_at_start_without_a_reason():
    run = without(good("launch refused"), "stderr")
    finding = find(run, "SET-8")
    assert finding.outcome is Outcome.VIOLATED
    assert "named no reason" in finding.sentence


def test_warning_at_start_up_is_no_reason():
    """It names VFIO, too."""
    said = "warning: VFIO dma-buf not supported in kernel"
    finding = find(launch_refused(scenario(device(stop_copy=False)), said), "SET-8")
    assert finding.outcome is Outcome.VIOLATED
    assert "named no reason" in finding.sentence


def test_start_that_must_be_refused():
    run = completed(scenario(device(stop_copy=False)))
    finding = find(run, "SET-8")
    assert finding.outcome is Outcome.VIOLATED
    assert "must refuse to start" in finding.sentence


def test_both_started_and_did_nothing():
    run = blocked(scenario(device(stop_copy=False)), NOT_IN_KERNEL)
    finding = find(run, "SET-8")
    assert finding.outcome is Outcome.VIOLATED
    assert "but both sides started" in finding.sentence


def test_nothing_at_all_is_unknown():
    run = launch_refused(scenario(device(stop_copy=False)), "reason")
    assert find(without(run, "stderr", "exited"), "SET-8").outcome is Outcome.UNKNOWN
