"""The moment that a fault waits for with a packet (``fault_plan.Until``)."""

from collections.abc import Iterator

from harness.proxy.events import After, Arrived, Command, Due, Event, Notified
from harness.proxy.faults.tally import Tallies
from harness.scenario.fault_plan import Until
from harness.wire.packets import DeviceStatePacket


class Moment:
    """Reached or not; it must ``see`` every event that comes after the packet.

    :param packet: whose moment it is; if None, "others" means all packets of ``devices`` devices
    :param tallies: of the fault, which must ``see`` each event first
    :param token: of the delay, if it waits for one
    """

    def __init__(
        self,
        until: Until,
        packet: DeviceStatePacket | None,
        tallies: Tallies,
        token: int,
        devices: int = 1,
    ) -> None:
        self._until = until
        self._packet = packet
        self._tallies = tallies
        self._token = token
        self._devices = devices
        self._packets_left = until.packets
        self.is_reached = until.others and self._are_others_there()
        """Whether the waiting is over."""

    def start(self) -> Iterator[Command]:
        """Commands that start the waiting."""
        if self._until.delay_s:
            yield After(self._until.delay_s, self._token)

    def see(self, event: Event) -> bool:
        """An event came after the packet; whether the waiting is over."""
        if not self.is_reached:
            self.is_reached = self._is_it(event)
        return self.is_reached

    def _is_it(self, event: Event) -> bool:
        until = self._until
        match event:
            case Arrived() if until.packets:
                self._packets_left -= 1
                return self._packets_left == 0
            case Arrived():
                return until.others and self._are_others_there()
            case Notified() if until.loaded:
                return self._is_loaded()
            case Notified():
                return (
                    event.name == until.told and event.value >= until.value and self._is_of(event)
                )
            case Due():
                return until.delay_s > 0 and event.token == self._token
            case _:
                return False

    def _are_others_there(self) -> bool:
        if self._packet is not None:
            return self._tallies.of(self._packet).is_complete
        return len(self._tallies) >= self._devices and all(t.is_complete for t in self._tallies)

    def _is_loaded(self) -> bool:
        packet = self._packet
        if packet is None or packet.idx is None:
            return False
        return self._tallies.of(packet).is_loaded(packet.idx)

    def _is_of(self, event: Notified) -> bool:
        device = self._packet.device if self._packet is not None else ""
        return not event.device or not device or event.device == device
