"""What the relay tells about what it sees and does: the words of the wire's history.

=====================  ==================================================================
name                   args
=====================  ==================================================================
``channel_opened``     ``connection`` (number in order of accept), ``kind`` main | multifd
                       | tls | raw; what is in TLS cannot be told, and is passed on unread
``stranger_refused``   ``pid``, ``uid`` of another user's process that has connected: closed
``channel_refused``    ``connection``, ``reason``: the destination could not be reached
``channel_ended``      ``connection``, ``side`` that sends no more, ``is_reset``
``channel_closed``     ``connection``, ``to_destination`` and ``to_source``: bytes passed
``damaged``            ``what``: from here on the channel is passed on unread
``hello_out``          ``magic``, ``version``, ``channel_id``, ``uuid`` (hex) of a hello that a
                       fault has changed, as it goes to the destination
``packet_in``          of the packet as it came from the source: see ``packet_args``
``packet_out``         of the packet as the destination's socket has taken all of it
``packet_lost``        likewise, of one that could not be delivered: the channel is closed
``main_section``       of a START or FULL section of a device on the main channel, once it has
                       ended: ``kind`` start | full, ``idstr``, ``size`` of its body in bytes
``switchover``         ``offset`` of the command on the main channel; told before the
                       destination can have read it
``main_end``           ``offset`` of the end of the state on the main channel
``raw_out``            ``size``: bytes sent that are no packet
``fault``              ``fault`` (kind), ``position`` in the plan, ``what`` it did, and
                       the packet's ``idx`` if it is about one
``main_stalled``       --
``main_resumed``       --
=====================  ==================================================================
"""

from dataclasses import dataclass
from typing import Any

import xxhash

from harness.wire.packets import (
    FLAG_DEVICE_STATE,
    MAGIC,
    STATE_VERSION,
    VERSION,
    DeviceStatePacket,
    MultiFDInit,
)

MARKER_SIZE = 8
"""A configuration starts with VFIO_MIG_FLAG_DEV_CONFIG_STATE (hw/vfio/migration.c)."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing that was seen on the wire.

    :ivar t_ns: CLOCK_REALTIME
    :ivar channel: of multifd, or ``events.MAIN``; of ``raw`` connections -2
    :ivar device: idstr, empty where it is about none
    :ivar payload: of ``packet_in`` and ``packet_out``, if payloads are kept
    """

    t_ns: int
    name: str
    args: dict[str, Any]
    channel: int
    device: str = ""
    payload: bytes | None = None


def digest_of(data: bytes) -> str:
    """xxh3_128 of a packet's data."""
    return xxhash.xxh3_128_hexdigest(data)


def hello_args(hello: MultiFDInit) -> dict[str, Any]:
    """``magic``, ``version``, ``channel_id``, and ``uuid`` in hex."""
    return {
        "magic": hello.magic,
        "version": hello.version,
        "channel_id": hello.channel_id,
        "uuid": hello.uuid.hex(),
    }


def packet_args(packet: DeviceStatePacket, size: int, digest: str) -> dict[str, Any]:
    """``idx``, ``state_flags``, ``instance_id``; ``size`` and ``digest`` of the data.

    Other header fields only where they are not what QEMU 10.0 to 11.1 puts there:
    ``magic``, ``version``, ``flags``, ``state_version``, ``next_packet_size`` (stated, not
    true), ``idstr`` (hex, not one text and its NULs).
    """
    args: dict[str, Any] = {
        "idx": packet.idx,
        "state_flags": packet.state_flags,
        "instance_id": packet.instance_id,
        "size": size,
        "digest": digest,
    }
    usual = {
        "magic": MAGIC,
        "version": VERSION,
        "flags": FLAG_DEVICE_STATE,
        "state_version": STATE_VERSION,
        "next_packet_size": None,
    }
    for name, value in usual.items():
        if (found := getattr(packet, name)) != value:
            args[name] = found
    text, _, rest = packet.idstr.partition(b"\0")
    if any(rest) or len(text) == len(packet.idstr) or not text.isascii():
        args["idstr"] = packet.idstr.hex()
    return args
