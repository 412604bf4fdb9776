"""What the session itself did, and what it asked QEMU in place of a guest."""

from typing import Literal

import msgspec

from harness.history.records import Body


class GuestConfig(Body, frozen=True):
    """Registers of a device in PCI configuration space, as a guest reads them."""

    registers: dict[str, int]
    """Offset, hex -> value."""


class GuestBar(Body, frozen=True):
    """The first 32-bit words of an emulated device's BAR 0, as a guest reads them."""

    words: list[int]


class GuestInterrupts(Body, frozen=True):
    """The MSI-X interrupts of a device, as a guest sees them."""

    moment: Literal["before", "after", "unmasked"]
    """Before the migration; after it; after that, once the function is not masked any more."""
    control: int
    """Message Control of its MSI-X capability (PCI_MSIX_FLAGS)."""
    programmed: list[int]
    """Vectors whose entry in the MSI-X table reads as the driver has written it."""
    arrived: list[int]
    """Vectors whose message is in the guest's RAM."""
    pending: list[int]
    """Vectors whose pending bit is set."""


class GuestSerial(Body, frozen=True):
    """One port of a serial card, as a guest has written or reads it."""

    port: int
    """First I/O port."""
    registers: dict[str, int | str]
    """Name -> value (``vm.serial_port.Registers``)."""


class Standstill(Body, frozen=True):
    """Nothing moved any more on either side: the harness gives up before the deadline.

    There was no record, except samples of memory, and no line of a trace, and all threads of both
    QEMUs slept, but for those in ``spinning``.
    """

    still_s: float
    """For how long.  Time is counted only where the harness itself ran when it should have."""
    uncounted_s: float
    """How much more time passed meanwhile, in which it did not."""
    threads: dict[str, int]
    """Side -> how many threads of its QEMU were asleep.  A side without a QEMU is left out."""
    spinning: dict[str, str] = msgspec.field(default_factory=dict)
    """Side -> the name of the one thread of its QEMU that was not: it ran, in user mode only, and
    never gave its processor up of itself.  Not in runs of an earlier harness.
    """


class Deadline(Body, frozen=True):
    """The harness has given up.  From here on it ends both QEMUs: what they do is its doing.

    Its time was over, or nothing moved any more: then ``standstill`` comes first.
    """

    waiting_for: str
    deadline_s: float | None = None
    """The scenario's; None in runs of the first harness."""
    waited_s: float | msgspec.UnsetType | None = msgspec.UNSET
    """How long was waited; None if ``waiting_for`` says it; UNSET in runs of an earlier harness,
    which waited for ``deadline_s``.
    """


class NotConverged(Body, frozen=True):
    """At its deadline the source was still in pre-copy, and was therefore cancelled."""

    deadline_s: float


class Action(Body, frozen=True):
    """The moment of an action of the scenario has come."""

    action: str
    """In words."""
    position: int
    """In the scenario's actions."""


class ActionEnded(Body, frozen=True):
    """What came of an action."""

    position: int
    how: Literal["done", "refused", "unanswered", "lost"]
    """``lost``: there was no QEMU, or it went away."""
    error_class: str | None = msgspec.field(name="class", default=None)
    """QMP's, if refused."""
    desc: str | None = None
    """QMP's, if refused."""
    sent: int | None = None
    """Commands that a storm sent."""
    refused: dict[str, str] | None = None
    """Commands of a storm that were refused each time -> why."""


class Faults(Body, frozen=True):
    """What the faults of the plan have done, each at its position."""

    fired: list[int]
    """How often it changed anything."""
    holding: list[bool] | None = None
    """Whether it still kept anything back at the end."""


class Actions(Body, frozen=True):
    """Which actions of the plan were done, each at its position."""

    done: list[bool]


class Continued(Body, frozen=True):
    """The source has been through an earlier migration."""

    after: str
    """The status with which that ended."""
    is_paused: bool = False
    """Whether the guest was paused then."""


class NotContinued(Body, frozen=True):
    """No QEMU was left for the next migration."""

    scenario: str = msgspec.field(name="with")
    """Its name."""


class NotCaptured(Body, frozen=True):
    """What the source sends is not kept."""

    why: str


class Replayed(Body, frozen=True):
    """A capture takes the source's place; the source's records are those of the captured run,
    their times moved to this one.
    """

    capture: str
    """The file."""
