"""The benchmark's rounds: repeated where a known deviation took one, given up where QEMU fails."""

import importlib
from pathlib import Path

import pytest

CI = Path(__file__).resolve().parents[3] / "ci"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(CI)
    return importlib.import_module("bench")


def wanted(bench, outcomes):
    """A row whose rounds end with ``outcomes``."""
    left = iter(outcomes)

    def measure():
        outcome = next(left)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return bench.Wanted(name="x", goal=bench.most(1), unit="s", measure=measure)


def test_first_round_does_not_count(bench):
    assert bench.measured(wanted(bench, [9.0, 1.0, 2.0, 3.0]), 3).values == (1.0, 2.0, 3.0)


def test_round_that_a_known_deviation_took_is_repeated_and_counted(bench):
    taken = bench.Taken("set-4")
    found = bench.measured(wanted(bench, [9.0, taken, 1.0, taken, 2.0]), 2)
    assert (found.values, found.repeated, found.failed) == ((1.0, 2.0), {"set-4": 2}, "")


def test_known_deviation_in_each_round_is_given_up(bench):
    found = bench.measured(wanted(bench, [bench.Taken("set-4")] * 99), 2)
    assert found.values == ()
    assert "known deviations took" in found.failed


def test_other_failure_ends_the_row(bench):
    found = bench.measured(wanted(bench, [1.0, 2.0, bench.Failed("no end")]), 2)
    assert (found.values, found.failed) == ((), "Failed: no end")


@pytest.mark.parametrize(("expects", "is_well"), [(0, False), (4, True)])
def test_program_must_end_with_the_status_that_is_expected(bench, tmp_path, expects, is_well):
    """A broken QEMU in which nothing was found is no quick finding."""
    made = bench.Bench(tmp_path / "qemu", tmp_path)
    if is_well:
        assert made.program("run", "--no-such-option", expects=expects) > 0
    else:
        with pytest.raises(bench.Failed, match="exit status 4"):
            made.program("run", "--no-such-option", expects=expects)


def test_base_is_measured_in_the_same_rounds(bench):
    row = bench.Wanted(
        name="x", goal=bench.most(1), unit="s", measure=iter([9.0, 4.0]).__next__,
        base=iter([9.0, 2.0]).__next__,
    )  # fmt: skip
    assert bench.measured(row, 1).figures == (2.0,)
