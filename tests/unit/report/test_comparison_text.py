"""A comparison as text and for programs."""

from dataclasses import replace

from harness.check.verdict import Outcome
from harness.measure.measured import Measured
from harness.report import comparison_text
from harness.report.comparison import compare
from tests.unit.saved_runs import finding, judged, lost

VALID, VIOLATED, UNKNOWN = Outcome.VALID, Outcome.VIOLATED, Outcome.UNKNOWN


def of(name="plain", outcome=VALID, sentence="so it was", **numbers):
    entry = judged(finding("ORD-1", outcome, sentence), finding("ORD-2", VALID), name=name)
    return replace(entry, measured=Measured(**numbers))


def text(before, after):
    return "\n".join(comparison_text.lines(compare(before, after)))


def test_what_got_worse_comes_first_with_what_was_seen():
    told = text([of("a"), of("b")], [of("a", VIOLATED, "a byte is wrong"), of("b", VIOLATED)])
    assert "Worse:\n  ORD-1  valid -> VIOLATED  in a, b\n         a: a byte is wrong" in told
    assert told.endswith(
        "Violated now, not before: ORD-1; 2 verdicts on requirements are unchanged, in 2 scenarios."
    )


def test_both_builds_are_reported():
    assert text([of()], [of()]).startswith("before: QEMU ")


def test_what_got_better_is_not_worse():
    told = text([of(outcome=VIOLATED)], [of()])
    assert "Better:\n  ORD-1  violated -> valid" in told
    assert "Worse" not in told
    assert "Nothing got worse; 1 verdicts" in told


def test_numbers_of_single_runs_are_reported_without_a_judgement():
    told = text([of(downtime_ms=10.0)], [of(downtime_ms=1000.0)])
    assert "one run each (not judged" in told
    assert "10.0  1000.0" in told
    assert "Nothing got worse" in told


def test_parts_are_in_their_order_also_where_one_run_lacks_some():
    told = text([of(parts_ms={"b": 2.0})], [of(parts_ms={"a": 1.0, "b": 3.0})])
    assert told.index("    a  ") < told.index("    b  ")


def test_of_many_scenarios_each_has_a_row_and_several_runs_their_median():
    before = [of("a", downtime_ms=1.0), of("b", downtime_ms=5.0)]
    after = [of("a", downtime_ms=n) for n in (1.0, 2.0, 9.0)] + [of("b", channels={"0": 3, "1": 5})]
    told = text(before, after)
    assert "medians of the runs of each scenario" in told
    assert "1.0 -> 2.0" in told
    assert "- -> 2: 3-5" in told


def test_lost_runs_are_reported():
    told = text([of()], [of(), lost("source: gone")])
    assert "LOST: source: gone" in told
    assert "runs were lost" in told


def test_document_has_the_exit_status_and_says_what_is_worse():
    found = comparison_text.document(compare([of()], [of(outcome=UNKNOWN, downtime_ms=3.5)]))
    assert found["exit_status"] == 2
    (change,) = found["changes"]
    assert (change["requirement"], change["before"], change["is_worse"]) == ("ORD-1", "valid", True)
    assert found["pairs"][0]["after"][0]["downtime_ms"] == 3.5
