"""Twins of lives; what holds for all twins is in ``test_broken``."""

from harness.check.broken import TWINS as ALL
from harness.check.broken_lives import TWINS


def test_they_are_among_all_twins():
    assert TWINS
    assert all(twin in ALL for twin in TWINS)


def test_each_rule_of_a_life_has_one():
    caught = {twin.requirement for twin in TWINS}
    lives = {f"LIF-{number}" for number in range(3, 9)}
    assert caught == lives | {"PRE-5", "SET-7", "SET-9"}
