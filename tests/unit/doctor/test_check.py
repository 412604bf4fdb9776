"""A check tells how to mend only what needs it."""

from harness.doctor.check import State, needed


def test_what_is_fit_needs_no_mending():
    check = needed("disk", True, "big", "buy one")
    assert (check.state, check.mend) == (State.OK, "")


def test_what_is_not_fit_is_missing_and_says_how_to_mend_it():
    check = needed("disk", False, "small", "buy one")
    assert (check.state, check.mend) == (State.MISSING, "buy one")
