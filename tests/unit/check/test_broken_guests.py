"""Twins of guests; what holds for all twins is in ``test_broken``."""

from harness.check.broken import TWINS as ALL
from harness.check.broken_guests import TWINS


def test_they_are_among_all_twins():
    assert TWINS
    assert all(twin in ALL for twin in TWINS)


def test_memory_and_device_both_have_one():
    assert {twin.requirement for twin in TWINS} == {"RUN", "ORD-1"}
