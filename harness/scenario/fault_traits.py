"""What the judgement has to know of a fault, which each kind in ``fault_plan`` says itself.

A kind takes one of the four below as a base, or sets the three of :class:`Traits` in its own
class.  One that leaves one out is refused when its class is made: left unsaid it would accuse
a right QEMU.
"""

from typing import Any, ClassVar


class Traits:
    """What each kind of fault must say of itself."""

    __slots__ = ()

    changes_data: ClassVar[bool]
    """Whether it changes, adds or takes away bytes of a packet's data, or makes packets up.  The
    destination's device is then compared with what was delivered, else with the source's."""
    closes_channels: ClassVar[bool]
    """Whether its records are about channels that it closed: a destination may then refuse."""
    holds_packets: ClassVar[bool]
    """Whether its records are about packets that it keeps back, each until a moment of its own:
    the destination waits for one and takes it late (LIF-1)."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__name__.startswith("_"):
            return  # a base of kinds
        for name in ("changes_data", "closes_channels", "holds_packets"):
            if not isinstance(getattr(cls, name, None), bool):
                raise TypeError(f"{cls.__name__} must say {name}: True or False")


class Plain(Traits):
    """Packets are moved, repeated, lost or slowed down, and their data is left as it is."""

    __slots__ = ()
    changes_data = closes_channels = holds_packets = False


class Changing(Traits):
    """Changes data."""

    __slots__ = ()
    changes_data = True
    closes_channels = holds_packets = False


class Closing(Traits):
    """Closes channels."""

    __slots__ = ()
    closes_channels = True
    changes_data = holds_packets = False


class Holding(Traits):
    """Holds packets back."""

    __slots__ = ()
    holds_packets = True
    changes_data = closes_channels = False
