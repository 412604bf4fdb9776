"""What the relay sees and does becomes records."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import xxhash

from harness.history import Body, wire
from harness.history.wire import Packet
from harness.wire.packets import FLAG_DEVICE_STATE, MAGIC, STATE_VERSION, VERSION, DeviceStatePacket

MARKER_SIZE = 8
"""A configuration starts with VFIO_MIG_FLAG_DEV_CONFIG_STATE (hw/vfio/migration.c)."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing that was seen on the wire.

    :ivar t_ns: CLOCK_REALTIME
    :ivar body: what its record holds
    :ivar channel: of multifd, or ``events.MAIN``; of ``raw`` connections -2
    :ivar device: idstr, empty if it is about none
    :ivar payload: data of a packet, if payloads are kept
    """

    t_ns: int
    body: Body
    channel: int
    device: str = ""
    payload: bytes | None = None


Record = Callable[[Seen], None]
P = TypeVar("P", bound=Packet)


class Recorder:
    """Adds the time, and describes packets.

    :param record: called in the relay's thread; what it raises ends the relay
    :param keeps_payload: record the data of packets too
    """

    def __init__(self, record: Record, keeps_payload: bool = False) -> None:
        self._record = record
        self._keeps_payload = keeps_payload

    def record(self, body: Body, channel: int, device: str = "") -> None:
        """Record what is not about a packet."""
        self._record(Seen(time.time_ns(), body, channel, device))

    def packet(self, kind: type[Packet], channel: int, packet: DeviceStatePacket) -> None:
        """Record ``packet`` as its reader will read it."""
        t_ns = time.time_ns()
        if packet.idx is None or packet.next_packet_size is not None:
            # A fault may have made a payload of its own, or stated the true size.
            packet = DeviceStatePacket.unpack(packet.pack_head(), packet.payload)
        marker = packet.data[:MARKER_SIZE].hex() if packet.is_config else None
        body = described(kind, packet, len(packet.data), digest_of(packet.data), marker)
        kept = packet.data if self._keeps_payload else None
        self._record(Seen(t_ns, body, channel, packet.device, kept))

    def passing(
        self, channel: int, packet: DeviceStatePacket, size: int, digest: str | None
    ) -> Callable[[], None]:
        """Record that ``packet`` came, and return what records that it is out.

        Its data is not at hand: these are ``size`` bytes, as it stated, with that ``digest``.
        """
        fields = fields_of(packet, size, digest)
        fields["next_packet_size"] = None
        self.record(wire.PacketIn(**fields), channel, packet.device)
        return partial(self.record, wire.PacketOut(**fields), channel, packet.device)


def digest_of(data: bytes) -> str:
    """xxh3_128 of a packet's data."""
    return xxhash.xxh3_128_hexdigest(data)


def described(
    kind: type[P], packet: DeviceStatePacket, size: int, digest: str, marker: str | None = None
) -> P:
    """A record of ``kind`` of ``packet``, whose data has that ``size`` and ``digest``."""
    return kind(**fields_of(packet, size, digest), marker=marker)


def fields_of(packet: DeviceStatePacket, size: int, digest: str | None) -> dict[str, Any]:
    """The fields of a record of ``packet``, whose data has that ``size`` and ``digest``.

    Those that QEMU 10.0 to 11.1 fills always alike are None as long as it does.
    """
    text, _, rest = packet.idstr.partition(b"\0")
    is_text = len(text) < len(packet.idstr) and text.isascii() and rest.count(0) == len(rest)
    return {
        "idx": packet.idx,
        "state_flags": packet.state_flags,
        "instance_id": packet.instance_id,
        "size": size,
        "digest": digest,
        "idstr": "" if is_text else packet.idstr.hex(),
        "magic": _unusual(packet.magic, MAGIC),
        "version": _unusual(packet.version, VERSION),
        "flags": _unusual(packet.flags, FLAG_DEVICE_STATE),
        "state_version": _unusual(packet.state_version, STATE_VERSION),
        "next_packet_size": packet.next_packet_size,
    }


def _unusual(value: int, usual: int) -> int | None:
    return None if value == usual else value
