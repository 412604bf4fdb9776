"""What was found out about one thing that the main job needs."""

import enum

import msgspec

from harness.rig.rig import is_inside


class State(enum.StrEnum):
    """What was found out about one thing."""

    OK = "ok"
    MISSING = "missing"
    """The main job cannot run without it."""
    OPTIONAL = "optional"
    """It is not there, or of no use, and the main job runs without it."""


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    what: str
    state: State
    found: str
    mend: str = ""
    """A command or a sentence; empty: nothing to mend."""


def needed(what: str, is_fit: bool, found: str, mend: str) -> Check:
    """What the main job cannot do without; ``mend`` where ``is_fit`` is false."""
    state = State.OK if is_fit else State.MISSING
    return Check(what, state, found, "" if is_fit else mend)


def optional(
    what: str, is_there: bool, found: str, mend: str = "", *, has_rig: bool = False
) -> Check:
    """What the main job can do without; ``mend`` where it is not there.

    :param has_rig: a rig has it
    """
    state = State.OK if is_there else State.OPTIONAL
    if has_rig and not is_inside():
        mend += ", or in a rig: vfio-multifd rig run -- COMMAND"
    return Check(what, state, found, "" if is_there else mend)
