"""A check tells how to mend only what needs it."""

from harness.doctor.check import Check, State, needed, optional
from harness.rig.rig import INSIDE


def test_what_is_fit_needs_no_mending():
    check = needed("disk", True, "big", "buy one")
    assert (check.state, check.mend) == (State.OK, "")


def test_what_is_not_fit_is_missing_and_says_how_to_mend_it():
    check = needed("disk", False, "small", "buy one")
    assert (check.state, check.mend) == (State.MISSING, "buy one")


def test_what_is_optional_is_mended_only_where_it_is_not_there(monkeypatch):
    assert optional("x", True, "there", "install it") == Check("x", State.OK, "there")
    check = optional("x", False, "none", "install it")
    assert (check.state, check.mend) == (State.OPTIONAL, "install it")


def test_rig_is_another_way_but_in_a_rig(monkeypatch):
    monkeypatch.delenv(INSIDE, raising=False)
    assert "or in a rig" in optional("x", False, "none", "load it", has_rig=True).mend
    monkeypatch.setenv(INSIDE, "1")
    assert optional("x", False, "none", "load it", has_rig=True).mend == "load it"
