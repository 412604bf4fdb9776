"""What must follow from what was delivered: completed, refused, waiting, or any of several.

The order between channels is not known: each is read by its own thread, in the order in
which packets were sent.  So what the destination has read at any moment is a **prefix** of each
channel, and::

    it can complete    some prefixes together hold exactly one packet for each index of
                       each device, the last flagged as configuration, and nothing wrong
    else it refuses    if anything delivered is wrong, because all is read in the end
    else it waits      for the first index that no packet has

If it can complete although something is wrong, the wrong packet was not needed, and was
read late or never: both outcomes are correct.  A prefix contains at least what is known to
be read: what is before a needed packet on its channel, what was sent SURE_NS before
another needed packet, and what the destination itself has reported (``Packet.is_read``).

What the source should have sent, and did not send, is not waited for here: the migration
must then complete, and the side that is blocked has the bug.
"""

import enum
import itertools
from collections import defaultdict
from collections.abc import Iterator

import msgspec

from harness.model.delivery import (
    Defect,
    Delivery,
    Effect,
    Packet,
    Reason,
    Sent,
    bad_hellos,
    config_defect,
    defects,
    is_far,
    leaves_rest,
    reason,
)

SURE_NS = 1_000_000_000
"""What was sent this long ago has been read."""
_MOST_ENDS = 8  # configurations that are tried for each device


class Outcome(enum.StrEnum):
    """How the destination ends, or that it waits."""

    COMPLETED = "completed"
    REFUSED = "refused"
    WAITING = "waiting"


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What a right destination does."""

    allowed: frozenset[Outcome]
    """One, or several if the order or the specification leaves it open."""
    reasons: tuple[Reason, ...] = ()
    """All reasons for which it may refuse."""
    waits_for: dict[str, int] = {}
    """If waiting is allowed: the index that each device lacks."""

    @property
    def outcome(self) -> Outcome | None:
        """The only one that is allowed; None if there are several."""
        return next(iter(self.allowed)) if len(self.allowed) == 1 else None


class _Step(msgspec.Struct):
    """What is read next on a channel: a packet that is taken in, or something wrong."""

    t_ns: int
    packet: Packet | None = None
    wrong: tuple[Defect, ...] = ()
    is_read: bool = False


Channels = dict[int, list[_Step]]


def predict(delivery: Delivery) -> Prediction:
    """What must follow from ``delivery``."""
    if hellos := tuple(bad_hellos(delivery)):
        return Prediction(allowed=frozenset({Outcome.REFUSED}), reasons=hellos)
    channels = _channels(delivery)
    taken = _taken(channels)
    found = [defect for steps in channels.values() for step in steps for defect in step.wrong]
    conflicts = [
        each
        for device in delivery.multifd_devices
        for each in _conflicts(taken[device], delivery.sent.get(device, Sent()))
    ]
    queues, must_overflow = _overflows(delivery)
    ends = next(_ends(delivery, channels, taken), None)
    reasons = [*(defect.reason for defect in found), *conflicts, *queues]

    if ends is None:
        allowed = _without_end(delivery, taken, found, conflicts)
    else:
        allowed = {Outcome.COMPLETED} | ({Outcome.REFUSED} if reasons else set())
    configs = {device: _config_defects(delivery, taken, device, ends) for device in taken}
    bad_configs = [defect for each in configs.values() for defect in each if defect is not None]
    if bad_configs:
        reasons += [defect.reason for defect in bad_configs]
        allowed.add(Outcome.REFUSED)
    if any(each and all(map(_is_refused, each)) for each in configs.values()):
        allowed.discard(Outcome.COMPLETED)
    if must_overflow:
        allowed = {Outcome.REFUSED}
    if delivery.closed:
        reasons.append(_closed(delivery))
        allowed.add(Outcome.REFUSED)
        allowed.discard(Outcome.WAITING)
        if ends is None:
            allowed.discard(Outcome.COMPLETED)
    elif delivery.ends_early and Outcome.WAITING in allowed:
        words = "the source closed its channels"
        reasons.append(Reason(requirement="LIF-2", kind="source-closed-channels", words=words))
        allowed.add(Outcome.REFUSED)
    waits = _missing(delivery, taken) if Outcome.WAITING in allowed else {}
    return Prediction(allowed=frozenset(allowed), reasons=tuple(reasons), waits_for=waits)


# -- what is read -------------------------------------------------------------------------


def _channels(delivery: Delivery) -> Channels:
    """Each channel's steps, up to the first after which nothing is read any more."""
    channels: Channels = defaultdict(list)
    is_over: set[int] = set()
    units: list[tuple[float, int, _Step]] = []
    for piece in delivery.pieces:
        words = "bytes that are no complete packet"
        about = Reason(requirement="REF-10", kind="no-packet", words=words, channel=piece.channel)
        wrong = () if piece.channel in delivery.closed else (Defect(Effect.STUCK, about),)
        units.append((piece.after + 0.5, piece.channel, _Step(piece.t_ns, None, wrong)))
    for packet in delivery.packets:
        units += [(packet.number, packet.channel, step) for step in _steps(packet, delivery)]
    for _, channel, step in sorted(units, key=lambda unit: unit[0]):
        if channel in is_over:
            continue
        channels[channel].append(step)
        if any(defect.effect is not Effect.OPEN for defect in step.wrong):
            is_over.add(channel)
    return channels


def _steps(packet: Packet, delivery: Delivery) -> Iterator[_Step]:
    wrong = tuple(defects(packet, delivery))
    is_taken = all(defect.effect is Effect.OPEN for defect in wrong)
    is_queued = is_taken and not is_far(packet, delivery)
    yield _Step(packet.t_ns, packet if is_queued else None, wrong, packet.is_read)
    if is_taken and leaves_rest(packet):
        words = "it states fewer bytes than it has"
        about = reason(packet, "REF-10", "stated-size-too-small", words, "")
        yield _Step(packet.t_ns, None, (Defect(Effect.REFUSED, about),))


Taken = dict[str, dict[int, list[Packet]]]


def _taken(channels: Channels) -> Taken:
    """Packets that are accepted unless they conflict with others: by device and index."""
    taken: Taken = defaultdict(lambda: defaultdict(list))
    for steps in channels.values():
        for step in steps:
            if step.packet is not None and step.packet.idx is not None:
                taken[step.packet.device][step.packet.idx].append(step.packet)
    return taken


# -- what is wrong between packets --------------------------------------------------------


def _conflicts(taken: dict[int, list[Packet]], sent: Sent) -> Iterator[Reason]:
    """REF-1 and REF-7: which packets of one device conflict with each other.

    Any of them may be the one that is refused, because any may come last.
    """
    configs = sorted(idx for idx, packets in taken.items() if any(p.is_config for p in packets))
    for idx, packets in sorted(taken.items()):
        for packet in packets:
            if len(packets) > 1:
                words = "its index comes twice"
                yield reason(packet, "REF-1", "index-twice", words, packet.device)
            if packet.is_config and (len(packets) > 1 or len(configs) > 1):
                words = "it is flagged as configuration, and so is another, or its index is taken"
                kind = _second(taken, configs) if len(packets) == 1 else _on_taken(packets)
                yield reason(packet, "REF-7", kind, words, packet.device)
            elif packet.is_config and max(taken) > idx:
                words = f"it is flagged as configuration, and packet {max(taken)} is above it"
                yield reason(packet, "REF-7", _below(taken, idx, sent), words, packet.device)
            elif configs and idx > configs[0]:
                words = f"it is above the configuration, which is packet {configs[0]}"
                kind = _below(taken, configs[0], sent)
                yield reason(packet, "REF-7", kind, words, packet.device)


def _below(taken: dict[int, list[Packet]], idx: int, sent: Sent) -> str:
    """The kind of damage if the configuration, packet ``idx``, has data above it.

    It was moved below data of the source; or data was added that the source does not have, sent
    after the configuration or before it.
    """
    if sent.config_idx is not None and idx < sent.config_idx:
        return "configuration-below-data"
    config = next(packet.number for packet in taken[idx] if packet.is_config)
    above = [packet.number for at, packets in taken.items() if at > idx for packet in packets]
    return "data-after-configuration" if min(above) > config else "data-above-configuration"


def _second(taken: dict[int, list[Packet]], configs: list[int]) -> str:
    """The kind of damage if several packets are flagged as configuration, in delivery order."""
    came = sorted((p.number, idx) for idx in configs for p in taken[idx] if p.is_config)
    is_above = came[-1][1] > came[0][1]
    return "second-configuration-above" if is_above else "second-configuration-below"


def _on_taken(packets: list[Packet]) -> str:
    """The kind of damage if a configuration shares its index with ``packets``."""
    is_twice = all(packet.is_config for packet in packets)
    return "configuration-twice" if is_twice else "configuration-on-taken-index"


def _overflows(delivery: Delivery) -> tuple[list[Reason], bool]:
    """REF-12: devices whose queued bytes may exceed their limit, and whether one must.

    Queued at once are at most all bytes of the device, and at least those that were sent
    well before a packet below them, or before the main channel let the load begin.  Whether
    VFIO's headers count is not specified.
    """
    reasons, is_certain = [], False
    for device, limit in delivery.limits.items():
        packets = [p for p in delivery.packets if p.device == device and p.idx is not None]
        if sum(p.payload_size for p in packets) <= limit:
            continue
        words = f"more bytes may be queued than {limit}"
        reasons.append(
            Reason(requirement="REF-12", kind="limit-exceeded", words=words, device=device)
        )
        is_certain = is_certain or _least_queued(packets, delivery) > limit
    return reasons, is_certain


def _least_queued(packets: list[Packet], delivery: Delivery) -> int:
    there = {p.idx for p in packets if p.idx is not None}
    gap = next(idx for idx in itertools.count() if idx not in there)
    single = max((p.size for p in packets), default=0)
    behind_gap = sum(p.size for p in packets if p.idx is not None and p.idx > gap)
    stalled = sum(p.size for p in packets if p.t_ns < delivery.resumed_ns - SURE_NS)
    late = 0
    last = max(packets, key=lambda p: p.t_ns)
    if last.idx is not None:
        early = [p for p in packets if p.t_ns < last.t_ns - SURE_NS]
        late = sum(p.size for p in early if p.idx is not None and p.idx > last.idx)
    return max(single, behind_gap, stalled, late)


# -- whether it can complete --------------------------------------------------------------


def _ends(delivery: Delivery, channels: Channels, taken: Taken) -> Iterator[dict[str, int]]:
    """Ways to complete: the index of the configuration that ends each device's state."""
    candidates = [
        [(device, idx) for idx in _whole_up_to(taken[device])][:_MOST_ENDS]
        for device in delivery.multifd_devices
    ]
    for choice in itertools.product(*candidates):
        ends = dict(choice)
        if _is_clean(delivery, channels, taken, ends):
            yield ends


def _whole_up_to(taken: dict[int, list[Packet]]) -> Iterator[int]:
    """Indices of configurations below which each index has data."""
    for idx in itertools.count():
        if any(packet.is_config for packet in taken.get(idx, ())):
            yield idx
        if all(packet.is_config for packet in taken.get(idx, ())):
            return


def _is_clean(delivery: Delivery, channels: Channels, taken: Taken, ends: dict[str, int]) -> bool:
    """Whether nothing is wrong in what must be read to reach these ends."""
    needed: set[int] = set()
    for device, end in ends.items():
        for idx in range(end + 1):
            copies = [p for p in taken[device][idx] if p.is_config == (idx == end)]
            if len(copies) == 1:
                needed.add(copies[0].number)
    seen: set[tuple[str, int]] = set()
    for steps in _read_in_any_case(channels, needed, delivery.resumed_ns).values():
        for step in steps:
            if any(defect.effect is not Effect.OPEN for defect in step.wrong):
                return False
            if step.packet is None or step.packet.idx is None:
                continue
            packet, idx = step.packet, step.packet.idx
            end = ends[packet.device]
            if (packet.device, idx) in seen or idx > end or packet.is_config != (idx == end):
                return False
            seen.add((packet.device, idx))
    return True


def _read_in_any_case(channels: Channels, needed: set[int], resumed_ns: int) -> Channels:
    """The shortest prefix of each channel with which all that is ``needed`` is read."""
    lengths = dict.fromkeys(channels, 0)
    latest = resumed_ns
    while True:
        before = dict(lengths)
        for channel, steps in channels.items():
            for at, step in enumerate(steps):
                is_needed = step.packet is not None and step.packet.number in needed
                if is_needed or step.is_read or step.t_ns < latest - SURE_NS:
                    lengths[channel] = max(lengths[channel], at + 1)
                if is_needed:
                    latest = max(latest, step.t_ns)
        if lengths == before:
            return {channel: steps[: lengths[channel]] for channel, steps in channels.items()}


# -- where it cannot ----------------------------------------------------------------------


def _without_end(
    delivery: Delivery, taken: Taken, found: list[Defect], conflicts: list[Reason]
) -> set[Outcome]:
    if conflicts or any(defect.effect is Effect.REFUSED for defect in found):
        return {Outcome.REFUSED}
    if any(defect.effect is Effect.STUCK for defect in found):
        return {Outcome.REFUSED, Outcome.WAITING}
    is_owed = all(
        not delivery.sent.get(device, Sent()).is_whole for device in _missing(delivery, taken)
    )
    allowed = {Outcome.COMPLETED if is_owed else Outcome.WAITING}
    return allowed | ({Outcome.REFUSED} if found else set())


def _missing(delivery: Delivery, taken: Taken) -> dict[str, int]:
    """The first index that each device lacks; devices that have all are left out."""
    missing = {}
    for device in delivery.multifd_devices:
        if next(_whole_up_to(taken[device]), None) is None:
            there = taken[device]
            missing[device] = next(idx for idx in itertools.count() if not there.get(idx))
    return missing


def _config_defects(
    delivery: Delivery, taken: Taken, device: str, ends: dict[str, int] | None
) -> list[Defect | None]:
    """What is wrong with each packet that may be loaded as the configuration of ``device``."""
    sent = delivery.sent.get(device, Sent())
    return [
        config_defect(packet, sent)
        for idx, copies in taken[device].items()
        for packet in copies
        if packet.is_config and (ends is None or ends.get(device) == idx)
    ]


def _is_refused(defect: Defect | None) -> bool:
    return defect is not None and defect.effect is Effect.REFUSED


def _closed(delivery: Delivery) -> Reason:
    named = ", ".join("main" if channel < 0 else str(channel) for channel in delivery.closed)
    return Reason(
        requirement="LIF-2",
        kind="channel-closed",
        words=f"channel {named} was closed",
        channel=delivery.closed[0],
    )
