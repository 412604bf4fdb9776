"""Twins of the kernel's devices; what holds for all twins is in ``test_broken``."""

from harness.check.broken import TWINS as ALL
from harness.check.broken_kernel import TWINS


def test_they_are_among_all_twins():
    assert TWINS
    assert all(twin in ALL for twin in TWINS)


def test_each_rule_that_sees_them_otherwise_has_one():
    assert {twin.requirement for twin in TWINS} == {"ORD-1", "ORD-6", "STA-2"}
