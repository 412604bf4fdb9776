"""A check names a fix only if one is needed."""

from harness.doctor.check import Check, State, needed, optional
from harness.rig.rig import INSIDE


def test_what_is_fit_needs_no_fix():
    check = needed("disk", True, "big", "buy one")
    assert (check.state, check.fix) == (State.OK, "")


def test_what_is_not_fit_is_missing_and_has_a_fix():
    check = needed("disk", False, "small", "buy one")
    assert (check.state, check.fix) == (State.MISSING, "buy one")


def test_what_is_optional_has_a_fix_only_if_it_is_missing(monkeypatch):
    assert optional("x", True, "there", "install it") == Check("x", State.OK, "there")
    check = optional("x", False, "none", "install it")
    assert (check.state, check.fix) == (State.OPTIONAL, "install it")


def test_rig_is_another_way_but_in_a_rig(monkeypatch):
    monkeypatch.delenv(INSIDE, raising=False)
    assert "or use the rig" in optional("x", False, "none", "load it", has_rig=True).fix
    monkeypatch.setenv(INSIDE, "1")
    assert optional("x", False, "none", "load it", has_rig=True).fix == "load it"
