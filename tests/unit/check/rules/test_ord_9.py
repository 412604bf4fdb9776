"""ORD-9: a destination device that differs is refused, and the error names it."""

from typing import Any

import pytest

from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history.records import Record
from harness.history.session import Deadline
from tests.twins.damage import drop, one
from tests.unit.check.histories import changed, completed, find, good, scenario
from tests.unit.check.sides import CONFIG, OTHER_DEVICE, refused_by_destination
from tests.unit.check.story import DST, SRC, device

GONE: dict[str, Any] = {"devices": [{"id": "vfio0"}]}
MORE: dict[str, Any] = {"devices": [{"id": "vfio0"}, {"id": "vfio1", "kind": "emulated"}]}


@pytest.mark.parametrize(
    "said",
    [
        CONFIG,
        "qemu: vfio0: Failed to load device config space",
        "qemu: error while loading state for instance 0x0 of device '0000:00:02.0/vfio'",
    ],
)
def test_error_names_it_by_id_by_trace_name_or_by_place(said):
    run = refused_by_destination(scenario(device(), destination=OTHER_DEVICE), said)
    assert find(run, "ORD-9").outcome is Outcome.VALID


def test_source_that_has_sent_all_may_report_completed():
    """LIF-9 is about that."""
    run = good("other device")
    end = one(run.records, "MIGRATION", side=SRC, status="failed")
    done = Record(end.t_ns, SRC, end.kind, end.name, {"status": "completed"})
    records = [done if r is end else r for r in run.records]
    records = [r for r in records if not (r.name == "return" and r.side is SRC)]
    other = changed(run, records)
    assert find(other, "ORD-9").outcome is Outcome.VALID
    assert find(other, "LIF-9").outcome is Outcome.VIOLATED


@pytest.mark.parametrize(
    ("devices", "there", "kind"),
    [
        ((device(),), {"devices": [{"id": "vfio0", "bar_size": 8192}]}, "bar-size"),
        ((device(),), {"devices": [{"id": "vfio0", "subsystem_id": 1}]}, "subsystem-id"),
        ((device(),), MORE, "device-too-many"),
        ((device(), device("vfio1")), GONE, "device-missing"),
    ],
)
def test_accepted_device_is_named_by_what_differs(devices, there, kind):
    finding = find(completed(scenario(*devices, destination=there)), "ORD-9")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, f"accepted-{kind}")


def test_hang_is_violated():
    run = good("other device")
    end = one(run.records, "MIGRATION", side=SRC, status="failed")
    late = Deadline(waiting_for="the end of source", deadline_s=9.0, waited_s=9.0)
    kept = drop(drop(list(run.records), "MIGRATION", status="failed"), "stderr")
    finding = find(changed(run, [*kept, Record.of(end.t_ns, SRC, late)]), "ORD-9")
    assert (finding.outcome, finding.shape) == (Outcome.VIOLATED, "did-not-end-device-id")


def test_name_that_was_not_seen_is_unknown():
    said = "qemu: Failed to load PCIDevice:config"
    run = refused_by_destination(scenario(device(), destination=OTHER_DEVICE), said)
    assert find(run, "ORD-9").outcome is Outcome.VIOLATED
    kept = [r for r in run.records if r.name != "vfio_migration_realize"]
    assert find(changed(run, kept), "ORD-9").outcome is Outcome.UNKNOWN


def test_destination_that_failed_without_an_error_is_unknown():
    run = refused_by_destination(scenario(device(), destination=OTHER_DEVICE))
    kept = [r for r in run.records if not (r.name == "return" and r.side is DST)]
    assert find(changed(run, kept), "ORD-9").outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("check", "is_judged"),
    [({}, False), ({"skip-vsc-check": False}, True)],
    ids=["skips", "checks"],
)
def test_vendor_capability_is_judged_only_if_qemu_compares_it(check, is_judged):
    spec = device(vendor_capability="01", properties=check)
    there = {"devices": [{"id": "vfio0", "vendor_capability": "02"}]}
    run = refused_by_destination(scenario(spec, destination=there), CONFIG)
    assert (judge(run).finding("ORD-9") is not None) is is_judged


def test_same_device_is_not_judged():
    assert judge(good("multifd")).finding("ORD-9") is None
