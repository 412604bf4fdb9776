"""The result of one check."""

import enum

import msgspec

from harness.rig.rig import is_inside


class State(enum.StrEnum):
    """The state of what was checked."""

    OK = "ok"
    MISSING = "missing"
    """The main job cannot run without it."""
    OPTIONAL = "optional"
    """It is missing or unusable, and the main job runs without it."""


class Check(msgspec.Struct, frozen=True):
    """What was checked, and with which result."""

    what: str
    state: State
    found: str
    fix: str = ""
    """A command or a sentence; empty if there is nothing to fix."""


def needed(what: str, is_fit: bool, found: str, fix: str) -> Check:
    """A check of what the main job needs; ``fix`` is used if ``is_fit`` is false."""
    state = State.OK if is_fit else State.MISSING
    return Check(what, state, found, "" if is_fit else fix)


def optional(
    what: str, is_there: bool, found: str, fix: str = "", *, has_rig: bool = False
) -> Check:
    """A check of what the main job does not need; ``fix`` is used if ``is_there`` is false.

    :param has_rig: whether the rig has it
    """
    state = State.OK if is_there else State.OPTIONAL
    if has_rig and not is_inside():
        fix += ", or use the rig: vfio-multifd rig run -- COMMAND"
    return Check(what, state, found, "" if is_there else fix)
