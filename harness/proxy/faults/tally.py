"""Counts what has arrived of each device's state, so that a fault knows when it is complete."""

from collections.abc import Iterator

from harness.proxy.events import Notified
from harness.wire.packets import DeviceStatePacket

Key = tuple[bytes, int]
PHASES = ("switchover", "switchover_passed", "ram_passed", "channel_ended")
"""Outside events that come once in a migration, or stay true once they came."""


def key_of(packet: DeviceStatePacket) -> Key:
    """The device on the wire: idstr and instance id."""
    return packet.idstr, packet.instance_id


class Tally:
    """One device's packets so far.

    The packet flagged as configuration has the highest idx, and so gives their number.
    """

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}
        """idx -> bytes of data."""
        self.config_idx: int | None = None
        self.loaded_bytes = 0
        """Bytes that the destination's device has taken."""
        self._ends: list[int] = []  # idx -> bytes up to the end of its data, without gaps

    @property
    def is_complete(self) -> bool:
        """Whether every packet has arrived."""
        return self.config_idx is not None and len(self.sizes) > self.config_idx

    def see(self, packet: DeviceStatePacket) -> None:
        """A packet arrived; one that arrives again counts once."""
        if packet.idx is None:
            return
        self.sizes.setdefault(packet.idx, len(packet.data))
        if packet.is_config:
            self.config_idx = packet.idx
        while (size := self.sizes.get(len(self._ends))) is not None:
            self._ends.append((self._ends[-1] if self._ends else 0) + size)

    def is_loaded(self, idx: int) -> bool:
        """Whether the destination's device has taken data packet ``idx`` and all before it."""
        return idx < len(self._ends) and self.loaded_bytes >= max(self._ends[idx], 1)


class Tallies:
    """One tally for each device that was seen.

    :ivar phases: those of ``PHASES`` that have come
    """

    def __init__(self) -> None:
        self.phases: set[str] = set()
        self._tallies: dict[Key, Tally] = {}

    def __iter__(self) -> Iterator[Tally]:
        return iter(self._tallies.values())

    def __len__(self) -> int:
        return len(self._tallies)

    def of(self, packet: DeviceStatePacket) -> Tally:
        """The tally of the packet's device."""
        return self._tallies.setdefault(key_of(packet), Tally())

    def see(self, packet: DeviceStatePacket) -> Tally:
        """A packet arrived; returns the tally of its device."""
        tally = self.of(packet)
        tally.see(packet)
        return tally

    def hear(self, event: Notified) -> None:
        """An outside event came."""
        if event.name in PHASES:
            self.phases.add(event.name)
        if event.name != "loaded":
            return
        for (idstr, _), tally in self._tallies.items():
            device = idstr.split(b"\0", 1)[0].decode(errors="backslashreplace")
            if event.device in ("", device):
                tally.loaded_bytes = max(tally.loaded_bytes, event.value)
