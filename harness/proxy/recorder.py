"""What the relay sees and does becomes records."""

import time
from collections.abc import Callable
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
    """One thing that was seen on the wire: name and arguments of its record.

    :ivar t_ns: CLOCK_REALTIME
    :ivar channel: of multifd, or ``events.MAIN``; of ``raw`` connections -2
    :ivar device: idstr, empty if it is about none
    :ivar payload: data of a packet, if payloads are kept
    """

    t_ns: int
    name: str
    args: dict[str, Any]
    channel: int
    device: str = ""
    payload: bytes | None = None


Record = Callable[[Seen], None]


class Recorder:
    """Adds the time and the packet's words.

    :param record: called in the relay's thread; what it raises ends the relay
    :param keeps_payload: record the data of packets too
    """

    def __init__(self, record: Record, keeps_payload: bool = False) -> None:
        self._record = record
        self._keeps_payload = keeps_payload

    def record(self, name: str, channel: int, device: str = "", /, **args: Any) -> None:
        """Record what is not about a packet."""
        self._record(Seen(time.time_ns(), name, args, channel, device))

    def packet(self, name: str, channel: int, packet: DeviceStatePacket) -> None:
        """Record ``packet`` as its reader will read it."""
        t_ns = time.time_ns()
        if packet.idx is None or packet.next_packet_size is not None:
            # A fault may have made a payload of its own, or stated the true size.
            packet = DeviceStatePacket.unpack(packet.pack_head(), packet.payload)
        args = packet_args(packet, len(packet.data), digest_of(packet.data))
        if packet.is_config:
            args["marker"] = packet.data[:MARKER_SIZE].hex()
        kept = packet.data if self._keeps_payload else None
        self._record(Seen(t_ns, name, args, channel, packet.device, kept))

    def passing(
        self, name: str, channel: int, packet: DeviceStatePacket, size: int, digest: str
    ) -> None:
        """Record ``packet``, whose data is not at hand: ``size`` bytes with that ``digest``."""
        args = packet_args(packet, size, digest)
        self._record(Seen(time.time_ns(), name, args, channel, packet.device))


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
