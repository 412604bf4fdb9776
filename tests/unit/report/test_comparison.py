"""What changed between two sets of runs, and what the exit status says of it."""

from dataclasses import replace

import msgspec
import pytest

from harness.check.deviations import Deviation
from harness.check.verdict import Outcome
from harness.measure.measured import Measured
from harness.report.comparison import State, compare
from harness.report.comparison_text import lines
from harness.scenario import EmulatedDevice, Scenario
from tests.unit.saved_runs import finding, judged, lost

VALID, VIOLATED, UNKNOWN = Outcome.VALID, Outcome.VIOLATED, Outcome.UNKNOWN


def of(name="plain", known=None, **outcomes):
    """A run whose requirements (``ORD_1=VALID``) came out so."""
    found = (finding(key.replace("_", "-"), outcome) for key, outcome in outcomes.items())
    entry = judged(*found, name=name)
    return entry if known is None else with_fields(entry, known=known)


def with_fields(entry, **fields):
    return replace(entry, **fields)


def changes(found):
    return [(c.requirement, c.scenario, c.before, c.after) for c in found.changes]


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        (VALID, VALID, 0),
        (VALID, VIOLATED, 1),
        (UNKNOWN, VIOLATED, 1),
        (VIOLATED, VIOLATED, 0),
        (VIOLATED, VALID, 0),
        (VALID, UNKNOWN, 2),
        (VIOLATED, UNKNOWN, 0),
        (UNKNOWN, VALID, 0),
    ],
)
def test_exit_status_is_about_what_got_worse(before, after, status):
    found = compare([of(ORD_1=before)], [of(ORD_1=after)])
    assert found.exit_status == status
    assert (found.unchanged == 1) == (before is after)


def test_violated_goes_before_not_judged():
    found = compare([of(ORD_1=VALID, ORD_2=VALID)], [of(ORD_1=UNKNOWN, ORD_2=VIOLATED)])
    assert found.exit_status == 1


def test_requirement_that_is_no_longer_applicable_is_not_judged():
    found = compare([of(ORD_1=VALID, ORD_2=VALID)], [of(ORD_2=VALID)])
    assert changes(found) == [("ORD-1", "plain", State.VALID, State.NOT_APPLICABLE)]
    assert found.exit_status == 2


def test_scenario_that_is_gone_is_not_judged_and_a_new_one_that_violates_is_worse():
    old, new = [of("a", ORD_1=VALID), of("b", ORD_1=VALID)], [of("a", ORD_1=VALID)]
    gone = compare(old, new)
    assert (gone.only_before, gone.exit_status) == (("b",), 2)
    come = compare(new, [*new, of("c", ORD_1=VIOLATED)])
    assert (come.only_after, come.exit_status) == (("c",), 1)


def test_runs_of_one_scenario_count_together_as_their_worst():
    found = compare([of(ORD_1=VALID)] * 3, [of(ORD_1=VALID), of(ORD_1=VIOLATED), of(ORD_1=VALID)])
    assert changes(found) == [("ORD-1", "plain", State.VALID, State.VIOLATED)]
    assert len(found.pairs[0].after) == 0  # nothing was measured in these


def test_known_deviation_is_reported_and_makes_nothing_worse():
    known = Deviation(requirement="ORD-1", case="a", cause="b", versions="", shape="x")
    found = compare([of(ORD_1=VALID)], [of(ORD_1=VIOLATED, known=known)])
    assert changes(found) == [("ORD-1", "plain", State.VALID, State.KNOWN)]
    assert found.exit_status == 0


def shaped(*shapes):
    """A run for each shape in which ORD-1 is violated."""
    return [judged(finding("ORD-1", Outcome.VIOLATED, shape, shape=shape), name="plain")
            for shape in shapes]  # fmt: skip


def test_old_violation_hides_no_new_one():
    found = compare(shaped("bytes-differ"), shaped("bytes-differ", "packet-never-loaded"))
    assert changes(found) == [("ORD-1", "plain", State.VIOLATED, State.OTHERWISE)]
    assert (found.changes[0].sentence, found.exit_status) == ("packet-never-loaded", 1)
    assert "Violated in another way than before: ORD-1;" in "\n".join(lines(found))


def test_violation_of_the_same_shape_is_no_change_though_its_words_differ():
    (before,), (after,) = shaped("bytes-differ"), shaped("bytes-differ")
    changed = finding("ORD-1", Outcome.VIOLATED, "in other words", shape="bytes-differ")
    after = judged(changed, name="plain")
    assert compare([before], [after]).changes == ()
    # One of two shapes that is gone is nothing new.
    assert compare(shaped("a", "b"), shaped("b")).changes == ()


def test_lost_run_is_reported_and_the_others_are_compared():
    found = compare([of(ORD_1=VALID)], [of(ORD_1=VIOLATED), lost("gone")])
    assert (found.lost, found.exit_status) == (("gone",), 3)
    assert changes(found)


def test_two_single_runs_are_compared_whatever_their_names():
    assert compare([of("a", ORD_1=VALID)], [of("b", ORD_1=VIOLATED)]).exit_status == 1


def test_nothing_in_common_is_no_comparison():
    found = compare([of("a", ORD_1=VALID), of("b", ORD_1=VALID)], [of("c", ORD_1=VALID)])
    assert (found.pairs, found.exit_status) == ((), 3)


def test_settings_that_differ_are_reported_but_not_the_builds():
    old = Scenario(name="s", devices=(EmulatedDevice(id="vfio0"),), qemu="/a")
    device = EmulatedDevice(id="vfio0", size=1)
    new = msgspec.structs.replace(old, channels=8, qemu="/b", devices=(device,))
    (pair,) = compare(
        [with_fields(of(ORD_1=VALID), scenario=old)], [with_fields(of(ORD_1=VALID), scenario=new)]
    ).pairs
    assert sorted(pair.settings) == ["channels: 4, then 8", "vfio0.size: 16777216, then 1"]


def test_what_was_measured_is_of_all_runs():
    entries = [with_fields(of(ORD_1=VALID), measured=Measured(downtime_ms=n)) for n in (1, 2)]
    (pair,) = compare(entries, entries[:1]).pairs
    assert [m.downtime_ms for m in pair.before] == [1, 2]
    assert [m.downtime_ms for m in pair.after] == [1]
