"""Twins of lives; what holds for all twins is in ``test_broken``."""

from harness.check.broken import TWINS as ALL
from harness.check.broken_lives import TWINS


def test_they_are_among_all_twins():
    assert TWINS
    assert all(twin in ALL for twin in TWINS)


def test_each_rule_of_a_life_has_one():
    caught = {twin.requirement for twin in TWINS}
    assert caught == {"LIF-3", "LIF-4", "LIF-5", "LIF-6", "LIF-7", "LIF-8", "SET-7", "SET-9"}
