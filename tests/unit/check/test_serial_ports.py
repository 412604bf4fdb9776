"""What a kernel's device shows: compared, told apart, and never taken for whole unseen."""

import pytest

from harness.check import interruption, serial_ports
from harness.check.evidence import Evidence, Seen
from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history import Kind, Record
from harness.history.wire import Delivered
from harness.model.expectation import expect
from tests.twins.damage import one, pick, swap
from tests.unit.check.histories import changed, find, good, only, without
from tests.unit.check.lives import continued
from tests.unit.check.story import DST, FACTS, SRC

RUN = "kernel's devices"  # vfio0 has one port, vfio1 two


def checked(run) -> Evidence:
    return Evidence(Seen(run), expect(run.scenario, FACTS, FACTS))


def with_register(run, record, **registers):
    args = {**record.args.registers, **registers}
    return changed(run, swap(list(run.records), [record], registers=args))


def test_emulated_devices_can_be_seen_into():
    assert serial_ports.is_open(checked(good("multifd")), "vfio0")
    assert not serial_ports.is_open(checked(good(RUN)), "vfio0")


def test_ports_that_agree():
    run = checked(good(RUN))
    assert [serial_ports.ports_compared(run, device) for device in ("vfio0", "vfio1")] == [1, 2]
    assert serial_ports.difference(run, "vfio0") is serial_ports.difference(run, "vfio1") is None
    assert serial_ports.foreign(run, "vfio0") is None


def test_port_that_was_not_read_leaves_nothing_compared():
    run = good(RUN)
    lost = pick(run.records, "guest_serial", device="vfio1", side=DST)[-1]
    less = checked(changed(run, [record for record in run.records if record is not lost]))
    assert serial_ports.ports_compared(less, "vfio1") == 0
    assert serial_ports.ports_compared(less, "vfio0") == 1


def test_first_register_that_differs_is_named_with_its_port():
    run = good(RUN)
    port = only(run, "guest_serial", device="vfio1", side=DST)[1]
    other = with_register(run, port, scr=port.args.registers["scr"] ^ 1)
    found = serial_ports.difference(checked(other), "vfio1")
    assert found is not None
    assert found.register == "scr"
    assert (found.source.side, found.destination.side) == (SRC, DST)
    assert f"vfio1: scr of the serial port at {port.args.port:#x} was" in found.sentence


def test_bytes_of_another_device_are_told_from_lost_ones():
    run = good(RUN)
    ours = one(run.records, "guest_serial", device="vfio0", side=DST)
    other = only(run, "guest_serial", device="vfio1", side=SRC)[1]
    swapped = checked(with_register(run, ours, fifo=other.args.registers["fifo"]))
    theirs = serial_ports.foreign(swapped, "vfio0")
    assert theirs is not None
    assert theirs[0] == other
    assert serial_ports.foreign(checked(with_register(run, ours, fifo="")), "vfio0") is None


def test_second_port_of_the_same_device_is_no_other_device():
    run = good(RUN)
    first, second = only(run, "guest_serial", device="vfio1", side=DST)
    mixed = with_register(run, first, fifo=second.args.registers["fifo"])
    assert serial_ports.foreign(checked(mixed), "vfio1") is None
    assert find(mixed, "ORD-1").outcome is Outcome.VIOLATED


# -- in the rules ------------------------------------------------------------------------


@pytest.mark.parametrize("requirement", ["ORD-1", "ORD-6"])
def test_nothing_shown_is_never_valid(requirement):
    finding = find(without(good(RUN), "guest_serial"), requirement)
    assert finding.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("requirement", ["ORD-5", "LIF-8"])
def test_what_only_the_device_knows_is_not_asked(requirement):
    assert "know" in judge(good(RUN)).not_applicable[requirement]


def test_bytes_that_a_fault_changed_are_not_compared():
    run = good(RUN)
    at = run.records[-1].t_ns
    delivered = Record.of(at, SRC, Delivered(bytes=36, digest="x"), "vfio0")
    assert find(changed(run, [*run.records, delivered]), "ORD-1").outcome is Outcome.UNKNOWN


def test_without_a_relay_nobody_saw_what_the_device_gave():
    finding = find(without(good(RUN), "packet_in", "packet_out"), "STA-1")
    assert finding.outcome is Outcome.UNKNOWN
    assert "relay: true" in finding.sentence


def test_state_events_are_not_judged_without_a_trace():
    run = good(RUN)
    traceless = changed(run, [r for r in run.records if (r.side, r.kind) != (DST, Kind.TRACE)])
    finding = find(traceless, "STA-2")
    assert finding.outcome is Outcome.UNKNOWN
    assert "no trace of the destination" in finding.sentence


def test_whole_after_a_migration_is_what_shows_so():
    run = good(RUN)
    assert interruption.damaged(checked(run)) is None
    assert find(continued(run, "completed"), "LIF-7").outcome is Outcome.VALID
    assert interruption.damaged(checked(without(run, "guest_serial"))) == (
        "what vfio0 got was not seen",
        [],
    )
    port = one(run.records, "guest_serial", side=DST)
    words, evidence = interruption.damaged(checked(with_register(run, port, mcr=0)))
    assert "mcr of the serial port" in words
    assert len(evidence) == 2
