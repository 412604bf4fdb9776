"""The MSI-X interrupts of an emulated device: its vectors, and when it fires them.

Where no guest runs, the harness is the driver: it lets each vector write a word of its own to the
guest's RAM, which shows whether the interrupt has arrived, and enables MSI-X before the migration.
"""

import enum
from collections.abc import Iterator
from typing import Annotated

import msgspec

MOST = 16
Vectors = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Vector = Annotated[int, msgspec.Meta(ge=0, lt=MOST)]
Errno = Annotated[int, msgspec.Meta(ge=0, le=133)]
"""0 for none."""
FIRST, PAGE = 1 << 20, 4096
"""Address of the word that the first vector of the first device writes.  Each vector has a page of
its own, so that nothing but its message makes the page dirty; the default of ``dma.at`` is behind
them."""


class At(enum.StrEnum):
    """When a device fires an interrupt."""

    BEFORE = "before"
    """Before the migration, once the driver has set MSI-X up."""
    PRE_COPY = "pre_copy"
    """As it begins with PRE_COPY."""
    STOPPING = "stopping"
    """While it runs, as the last thing before it stops."""
    RUNNING = "running"
    """As it begins to run at the destination."""


_SIDE = {At.RUNNING: "destination"}


class Fire(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An interrupt."""

    at: At
    vector: Vector = 0

    @property
    def side(self) -> str:
        """Of the device that fires it."""
        return _SIDE.get(self.at, "source")


class Interrupts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """MSI-X of a device."""

    vectors: Vectors = 0
    """0 for no MSI-X."""
    fires: tuple[Fire, ...] = ()
    """Each of another vector: a second interrupt of a vector would not show."""
    masked: bool = False
    """Whether the driver masks the function (MSI-X Function Mask) once it has set MSI-X up, and
    unmasks it when the migration has completed: what is fired meanwhile is pending."""
    arm_errno: Errno = 0
    """The destination's device fails to arm vectors (VFIO_DEVICE_SET_IRQS) with it; 0: it does
    not."""

    @property
    def is_used(self) -> bool:
        """Whether the device has any."""
        return self.vectors > 0

    def on(self, side: str) -> "Interrupts":
        """What the device of ``side`` does."""
        fires = tuple(each for each in self.fires if each.side == side)
        is_destination = side == "destination"
        return msgspec.structs.replace(
            self, fires=fires, arm_errno=self.arm_errno if is_destination else 0
        )

    def fires_at(self, at: At) -> tuple[int, ...]:
        """Vectors that are fired then."""
        return tuple(each.vector for each in self.fires if each.at is at)

    def problems(
        self, device: str, *, has_pre_copy: bool, has_guest: bool
    ) -> Iterator[tuple[bool, str]]:
        """What must hold, and what is wrong where it does not."""
        fired = [each.vector for each in self.fires]
        yield (
            all(vector < self.vectors for vector in fired),
            f"{device}: interrupts.fires has a vector beyond its {self.vectors}",
        )
        yield len(set(fired)) == len(fired), f"{device}: interrupts.fires has a vector twice"
        yield (
            has_pre_copy or not self.fires_at(At.PRE_COPY),
            f"{device}: interrupts.fires at pre_copy, but pre_copy is off",
        )
        yield (
            self.is_used or not (self.masked or self.arm_errno),
            f"{device}: interrupts.masked and arm_errno need vectors",
        )
        yield (
            not (self.masked and has_guest),
            f"{device}: interrupts.masked: the harness masks in place of a guest, and there is one",
        )


def message_address(index: int, vector: int) -> int:
    """Address of the word that a vector of the ``index``-th device writes."""
    return FIRST + (index * MOST + vector) * PAGE


def message_data(index: int, vector: int) -> int:
    """What it writes there."""
    return 0x4D53_0000 | index << 8 | vector
