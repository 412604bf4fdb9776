"""What the verdict must know of a fault; each kind in ``fault_plan`` sets it.

A kind takes one of the four classes below as a base, or sets the three attributes of
:class:`Traits` itself.  A kind that leaves one out is refused when its class is made, because
the verdict would accuse a correct QEMU.
"""

from typing import Any, ClassVar


class Traits:
    """What each kind of fault must set."""

    __slots__ = ()

    changes_data: ClassVar[bool]
    """Whether it changes, adds or removes bytes of a packet's data, or makes packets up.  The
    destination's device is then compared with what was delivered, not with the source's."""
    closes_channels: ClassVar[bool]
    """Whether its records are about channels that it closed: the destination may then refuse."""
    holds_packets: ClassVar[bool]
    """Whether its records are about packets that it holds back, each until its own moment: the
    destination waits for it and takes it late (LIF-1)."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__name__.startswith("_"):
            return  # a base of kinds
        for name in ("changes_data", "closes_channels", "holds_packets"):
            if not isinstance(getattr(cls, name, None), bool):
                raise TypeError(f"{cls.__name__} must set {name} to True or False")


class Plain(Traits):
    """Moves, repeats, drops or delays packets, and leaves their data as it is."""

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
