"""Data buffers are split and merged to another size; their bytes are unchanged."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from harness.proxy.events import Arrived, Command, Deliver
from harness.proxy.faults.base import Fault, Random
from harness.proxy.faults.tally import Key, key_of
from harness.scenario import fault_plan as plan
from harness.wire.packets import DeviceStatePacket


@dataclass
class _State:
    """One device's state: packets that wait by idx become bytes, and these new packets."""

    waiting: dict[int, Arrived] = field(default_factory=dict)
    next_in: int = 0
    data: bytearray = field(default_factory=bytearray)
    next_out: int = 0
    last: Arrived | None = None


class Rechunk(Fault[plan.Rechunk]):
    """Takes the packets in order of idx: early ones wait."""

    def __init__(self, spec: plan.Rechunk, random: Random) -> None:
        super().__init__(spec, random)
        self._states: dict[Key, _State] = {}

    def hit(self, event: Arrived) -> Iterator[Command]:
        packet = event.packet
        state = self._states.setdefault(key_of(packet), _State())
        if packet.idx is None or packet.idx < state.next_in or packet.idx in state.waiting:
            yield Deliver(event.channel, packet)  # not the source's: a fault before us made it
            return
        state.waiting[packet.idx] = event
        while (arrived := state.waiting.pop(state.next_in, None)) is not None:
            state.next_in += 1
            if arrived.packet.is_config:
                yield from self._emit(state, 1)
                yield from self._deliver(state, arrived, arrived.packet.data)
            else:
                state.last = arrived
                state.data += arrived.packet.data
                yield from self._emit(state, self.spec.size)
        self.is_holding = any(s.waiting or s.data for s in self._states.values())

    def source_ended(self) -> Iterator[Command]:
        """The rest never comes: what is held is delivered."""
        for state in self._states.values():
            yield from self._emit(state, 1)
            for event in state.waiting.values():
                yield Deliver(event.channel, event.packet)
        self._states.clear()
        self.is_holding = False

    def _emit(self, state: _State, least: int) -> Iterator[Command]:
        """Packets of the data so far, as long as there are ``least`` bytes."""
        start = 0
        while state.last is not None and len(state.data) - start >= least:
            end = min(start + self.spec.size, len(state.data))
            yield from self._deliver(state, state.last, bytes(state.data[start:end]))
            start = end
        del state.data[:start]

    def _deliver(self, state: _State, like: Arrived, data: bytes) -> Iterator[Command]:
        packet = _renumbered(like.packet, state.next_out, data)
        state.next_out += 1
        if packet != like.packet:
            what = f"made packet {packet.idx} of {len(data)} bytes"
            yield self.note(what, like.channel, like.packet)
        yield Deliver(like.channel, packet)


def _renumbered(like: DeviceStatePacket, idx: int, data: bytes) -> DeviceStatePacket:
    return replace(like, idx=idx, data=data, next_packet_size=None)
