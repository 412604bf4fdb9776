"""What the guest of ``images/guest`` printed on its console."""

from harness.history.records import Body


class Ready(Body, frozen=True):
    """It is up; printed once, at the side where it was booted."""

    memory_kib: int
    """Memory that it dirties."""
    devices: list[str]
    """Ids of the devices whose BAR 0 it has found."""


class Round(Body, frozen=True):
    """It has checked all of its memory and devices once."""

    round: int
    memory: str
    """``good`` or ``damaged: ...``."""
    devices: dict[str, str]
    """Id of a device -> the same of its BAR 0."""


class Interrupts(Body, frozen=True):
    """Which interrupts of a device have come so far, on either side."""

    device: str
    """Its id."""
    vectors: list[int]


class GaveUp(Body, frozen=True):
    """It does not go on."""

    why: str


class Line(Body, frozen=True):
    """Anything else on the console."""

    line: str
