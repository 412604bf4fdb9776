"""Each device's packets are delivered in another order."""

from collections.abc import Iterator

from harness.proxy.events import Arrived, Command, Deliver
from harness.proxy.faults.base import Fault, Random
from harness.proxy.faults.tally import Key, Tallies, key_of
from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Order


class Reorder(Fault[plan.Reorder]):
    """Holds the packets that must wait, and delivers them once all of the device have come."""

    def __init__(self, spec: plan.Reorder, random: Random) -> None:
        super().__init__(spec, random)
        self._tallies = Tallies()
        self._held: dict[Key, list[Arrived]] = {}
        self._arrivals: dict[Key, list[int]] = {}  # `order` of each, as they came
        self._places: dict[Key, int] = {}  # how many have been delivered

    def arrived(self, event: Arrived) -> Iterator[Command]:
        tally = self._tallies.see(event.packet)
        if not self.selects(event) or event.packet.idx is None:
            yield Deliver(event.channel, event.packet)
            return
        key = key_of(event.packet)
        self._arrivals.setdefault(key, []).append(event.order)
        if self._must_wait(event):
            self._held.setdefault(key, []).append(event)
        else:
            yield from self._deliver(key, event)
        if tally.is_complete:
            yield from self._release(key)
        self.is_holding = any(self._held.values())

    def source_ended(self) -> Iterator[Command]:
        """The rest never comes: what is held is delivered in the order of arrival."""
        for held in self._held.values():
            for event in held:
                yield Deliver(event.channel, event.packet)
        self._held.clear()
        self.is_holding = False

    def _must_wait(self, event: Arrived) -> bool:
        match self.spec.order:
            case Order.INDEX_0_LAST:
                return event.packet.idx == 0
            case Order.ONE_CHANNEL_DELAYED:
                return event.channel == self.spec.channel
            case _:
                return True

    def _release(self, key: Key) -> Iterator[Command]:
        for event in self._in_order(self._held.pop(key, [])):
            yield from self._deliver(key, event)

    def _in_order(self, held: list[Arrived]) -> list[Arrived]:
        order = self.spec.order
        if order is Order.SHUFFLED:
            held.sort(key=_idx)  # the seed alone decides, not how channels raced
            self.random.shuffle(held)
        elif order is Order.REVERSED:
            held.sort(key=_idx, reverse=True)
        elif order is Order.CONFIG_FIRST:
            held.sort(key=lambda event: not event.packet.is_config)
        elif isinstance(order, tuple):
            place = {idx: number for number, idx in enumerate(order)}
            held.sort(key=lambda event: (place.get(_idx(event), len(place)), event.order))
        return held

    def _deliver(self, key: Key, event: Arrived) -> Iterator[Command]:
        place = self._places.get(key, 0)
        self._places[key] = place + 1
        came = self._arrivals[key]
        if came[place] != event.order:
            what = f"arrived as number {came.index(event.order)}, delivered as number {place}"
            yield self.note(what, event.channel, event.packet)
        yield Deliver(event.channel, event.packet)


def _idx(event: Arrived) -> int:
    return event.packet.idx if event.packet.idx is not None else -1
