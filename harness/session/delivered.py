"""What the destination was given of each device's data, put together in order of idx.

It says what a device must hold after a fault has changed data on its way.  All of it is
kept in memory, as the relay keeps it too.
"""

from collections import defaultdict

from harness.history import wire
from harness.proxy.recorder import Seen, digest_of
from harness.wire.packets import STATE_CONFIG


class Delivered:
    """Collects the data of ``packet_out``."""

    def __init__(self) -> None:
        self._data: dict[str, dict[int, bytes]] = defaultdict(dict)

    def take(self, seen: Seen) -> None:
        """A packet went out; of several with one idx the first counts."""
        packet = seen.body
        if not isinstance(packet, wire.PacketOut) or seen.payload is None:
            return
        if packet.idx is not None and not packet.state_flags & STATE_CONFIG:
            self._data[seen.device].setdefault(packet.idx, seen.payload)

    def of(self, idstr: str) -> wire.Delivered:
        """``bytes`` and ``digest`` of the device's data from idx 0 on, up to the first gap."""
        found = self._data[idstr]
        whole = bytearray()
        idx = 0
        while (data := found.get(idx)) is not None:
            whole += data
            idx += 1
        return wire.Delivered(len(whole), digest_of(bytes(whole)))
