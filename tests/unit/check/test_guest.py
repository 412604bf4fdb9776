"""What the guest said, as the rules read it."""

from typing import Any

import pytest

from harness.check import guest, interruption
from harness.check.evidence import Evidence, Seen
from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history import Kind, Record
from harness.history.guest import Line
from harness.model.expectation import expect
from tests.unit.check.guests import guest_scenario, told, with_guest
from tests.unit.check.histories import changed, completed, find, good, without
from tests.unit.check.story import DST, SRC, device

DAMAGED = "damaged: byte 0: 0, not 0x1"


def checked(run):
    return Evidence(Seen(run), expect(run.scenario, run.manifest.source, run.manifest.destination))


def late(run, side, number, **said):
    """One more round, after all others."""
    return with_guest(run, told(run, side, number, at=run.records[-1].t_ns, **said))


@pytest.fixture
def plain():
    return completed(guest_scenario(device()))


def test_good_rounds_say_nothing(plain):
    run = checked(with_guest(plain))
    assert [r.args.round for r in guest.rounds(run, DST)] == list(range(4, 10))
    assert guest.damaged_memory(run) is None
    assert guest.damaged_device(run, "vfio0", DST) is None
    assert guest.went_back(run) is None
    assert guest.gave_up(run) is None


@pytest.mark.parametrize("side", [SRC, DST])
def test_damaged_memory_is_found_on_either_side(plain, side):
    number = 10 if side is DST else 3
    said = guest.damaged_memory(checked(late(plain, side, number, memory=DAMAGED)))
    assert said is not None
    assert said[0] == DAMAGED
    assert said[1].side is side


def test_damaged_device_is_found_where_it_was_told_only(plain):
    run = checked(late(plain, DST, 10, vfio0=DAMAGED))
    assert guest.damaged_device(run, "vfio0", DST) is not None
    assert guest.damaged_device(run, "vfio0", SRC) is None
    assert guest.damaged_memory(run) is None


# -- a device of the kernel: what the guest says is all that is known of it -----------------

REGISTER = "damaged: scratch register of port 0xc300: 0x0, not 0xc3"


@pytest.fixture
def unseen():
    """The kernel's devices without the registers that the harness reads where no guest runs."""
    return without(good("kernel's devices"), "guest_serial")


@pytest.mark.parametrize("requirement", ["ORD-1", "ORD-6"])
def test_guest_shows_what_a_device_of_the_kernel_got(unseen, requirement):
    assert find(unseen, requirement).outcome is Outcome.UNKNOWN
    assert find(with_guest(unseen), requirement).outcome is Outcome.VALID
    assert interruption.damaged(checked(with_guest(unseen))) is None


def test_damage_of_a_device_of_the_kernel_is_no_sign_that_devices_are_apart(unseen):
    run = late(unseen, DST, 10, vfio1=REGISTER)
    finding = find(run, "ORD-1")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.sentence == f"the guest found BAR 0 of vfio1 {REGISTER}"
    assert find(run, "ORD-6").outcome is Outcome.UNKNOWN
    assert guest.found_whole(checked(run), "vfio0")
    assert not guest.found_whole(checked(run), "vfio1")
    sentence, evidence = interruption.damaged(checked(run))
    assert sentence == finding.sentence
    assert [record.args.round for record in list[Any](evidence)] == [10]


def test_device_damaged_at_the_source_is_of_the_run(plain):
    finding = find(late(plain, SRC, 3, vfio0=DAMAGED), "RUN")
    assert finding.outcome is Outcome.VIOLATED
    assert finding.sentence == f"the guest found BAR 0 of vfio0 damaged at the source: {DAMAGED}"


def test_guest_that_runs_on_at_the_source_runs_twice(plain):
    finding = find(late(plain, SRC, 5), "RUN")
    assert finding.outcome is Outcome.VIOLATED
    assert "to round 5 at the source, and to round 4 at the destination" in finding.sentence


@pytest.mark.parametrize("side", [SRC, DST])
def test_guest_that_was_reset_has_not_gone_back(plain, side):
    run = late(plain, SRC, 5)
    reset = Record(run.records[-1].t_ns, side, Kind.QMP, "RESET", {"guest": False})
    assert guest.went_back(checked(changed(run, [*run.records, reset]))) is None


def test_round_that_the_switchover_cut_in_two_is_not_missed(plain):
    run = with_guest(plain)
    first = next(r for r in run.records if r.kind is Kind.GUEST and r.side is DST)
    parts = [
        Record.of(first.t_ns - 2, SRC, Line(line="guest: round 4: mem")),
        Record.of(first.t_ns, DST, Line(line="ory good")),
    ]
    rest = [record for record in run.records if record is not first]
    assert find(changed(run, [*rest, *parts]), "RUN").outcome is Outcome.VALID


def test_guest_that_says_nothing_is_not_taken_for_whole(plain):
    run = with_guest(plain)
    silent = [r for r in run.records if not (r.kind is Kind.GUEST and r.side is DST)]
    finding = find(changed(run, silent), "RUN")
    assert finding.outcome is Outcome.UNKNOWN
    assert finding.sentence == "the guest reported nothing at the destination"


def test_run_without_a_guest_does_not_ask_for_one():
    run = good("multifd")
    assert judge(run).overall is Outcome.VALID
    assert "guest_rounds_at_the_destination" not in find(run, "RUN").numbers
