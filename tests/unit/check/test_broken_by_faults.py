"""Twins of runs with faults; what holds for all twins is in ``test_broken``."""

from harness.check.broken import TWINS as ALL
from harness.check.broken_by_faults import TWINS


def test_they_are_among_all_twins():
    assert TWINS
    assert all(twin in ALL for twin in TWINS)


def test_each_refusal_has_a_qemu_that_does_not_refuse():
    caught = {twin.requirement for twin in TWINS}
    assert {f"REF-{number}" for number in range(1, 13)} <= caught
    assert {"LIF-1", "LIF-2", "LIF-9"} <= caught
