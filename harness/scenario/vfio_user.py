"""What a scenario says of a vfio-user server, and of who asks it."""

import enum
from typing import Literal

import msgspec

from harness.scenario import ranges


class VfioUserClient(enum.StrEnum):
    """What asks the server of a vfio-user device."""

    HARNESS = "harness"
    """The harness: QEMU has a vfio-pci device, whose calls become messages."""
    QEMU = "qemu"
    """QEMU's own vfio-user-pci, of 10.1 and later."""


class ServerDoes(enum.StrEnum):
    """What a vfio-user server can do wrong with the reply to one message."""

    DIE = "die"
    """It ends the connection without a reply."""
    STALL = "stall"
    """It never replies."""
    CUT = "cut"
    """The payload of its reply lacks a byte."""
    WRONG_ID = "wrong_id"
    """It replies to another message."""
    PAD = "pad"
    """Its reply is longer than what it says that it has; which is allowed."""
    SEND_FDS = "send_fds"
    """It sends descriptors that nobody needs; which is allowed."""


class ServerFault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a server does wrong, once."""

    side: Literal["source", "destination"]
    command: str
    """Name of the command of the vfio-user protocol, like MIG_DATA_READ."""
    does: ServerDoes
    nth: ranges.Number = 0
    """At which message of the command; from 0."""
