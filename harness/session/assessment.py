"""How a run is judged while it goes on.  The judge is given to the session, which has none."""

import enum
from collections.abc import Callable

from harness.history.rundir import History


class Assessment(enum.Enum):
    """What the verdict on a run would be if it ended now."""

    RIGHT = enum.auto()
    """Nothing is violated, or what is cannot be judged yet."""
    KNOWN = enum.auto()
    """A requirement is violated, as QEMU is known to do."""
    NEW = enum.auto()
    """A requirement is violated in another way."""


Assess = Callable[[History], Assessment]
"""Judges a history that is not complete; called in another thread."""
