"""STA-3: The trace has one incoming packet for each packet sent, with its name and index.

The incoming records are compared with three other counts: the packets that the state makes (from
the device's own reads if they were recorded), the indices, of which none may repeat,
and each channel's own count.  A channel counts all packets
(multifd_recv_thread_end, packets), and traces each RAM packet (multifd_recv_unfill); the
rest were device state (multifd_recv_unfill_packet() in migration/multifd.c).

With a relay, its packets are compared one by one, by device, channel and index, instead of
what the state makes.
"""

from collections import Counter

from harness.check.assumptions import Assumption
from harness.check.evidence import INCOMING, Evidence
from harness.check.packet_count import Prediction, given_reads, main_bytes, predict
from harness.check.rule import Rule, over_multifd
from harness.check.verdict import Finding
from harness.history.device import Sent
from harness.history.records import Record, Side
from harness.history.wire import PacketOut

RULE = Rule(
    id="STA-3",
    title="The trace has one incoming packet for each packet sent",
    skip_reason=over_multifd,
    needs=(Assumption.COMPLETE, Assumption.LAUNCHED, Assumption.DESTINATION_TRACE),
)


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    finding = _names(evidence)
    tallies: dict[str, str] = {}
    total = 0
    for device in evidence.multifd_devices if finding is None else ():
        reception = evidence.reception(device)
        count = len(reception.incoming) + len(reception.repeated)
        total += count
        delivered = Counter(record.args.idx for record in evidence.of(PacketOut, device=device))
        for repeated in reception.repeated:
            if delivered[repeated.args["idx"]] > 1:
                continue  # by a fault: whether it had to be refused is REF-1's
            return RULE.violated(
                f"{device}: packet {repeated.args['idx']} came in twice, and the migration "
                "was not refused",
                reception.incoming[repeated.args["idx"]],
                repeated,
                shape="packet-came-twice",
            )
        if evidence.of(PacketOut, device=device):
            finding = _against_wire(evidence, device)
            if finding is not None:
                return finding
            tallies[device] = "the wire"
            continue
        packets, source = _expected(evidence, device)
        is_short = evidence.endings.is_completed and count <= packets
        if packets >= 0 and (count > packets + 1 or is_short):
            return RULE.violated(
                f"{device}: {count} packets came in, where {packets + 1} were sent (by {source})",
                *evidence.trace(Side.DESTINATION, INCOMING, device)[-1:],
                *evidence.of(Sent, Side.SOURCE, device)[-1:],
                shape="too-many-packets" if count > packets + 1 else "too-few-packets",
            )
        if packets >= 0:
            tallies[device] = source
    finding = finding or _channels(evidence)
    if finding is not None:
        return finding
    numbers = {"incoming": total, "compared_with": tallies}
    if not total:
        return RULE.unknown("no packet arrived", **numbers)
    if not tallies:
        return RULE.unknown("there is nothing to compare the incoming packets with", **numbers)
    return RULE.valid("the trace has one incoming packet for each that was sent", **numbers)


def _against_wire(evidence: Evidence, device: str) -> Finding | None:
    """A packet that is only in one of wire and trace."""
    incoming = evidence.trace(Side.DESTINATION, INCOMING, device)
    by_channel = all(record.channel >= 0 for record in incoming)

    def key(record: Record, idx: int | None) -> tuple[int, int | None]:
        return record.channel if by_channel else -1, idx

    traced = [(key(r, r.args["idx"]), r) for r in incoming]
    delivered = [(key(r, r.args.idx), r) for r in evidence.of(PacketOut, device=device)]
    told, sent = (Counter(each for each, _ in pairs) for pairs in (traced, delivered))
    if extra := told - sent:
        packet = next(iter(extra))
        return RULE.violated(
            f"{device}: packet {packet[1]} came in{_on(packet[0])}, where none was delivered",
            next(record for each, record in traced if each == packet),
            shape="packet-from-nowhere",
        )
    if evidence.endings.is_completed and (untold := sent - told):
        packet = next(iter(untold))
        return RULE.violated(
            f"{device}: packet {packet[1]} was delivered{_on(packet[0])}, and the trace has no "
            "incoming packet for it",
            next(record for each, record in delivered if each == packet),
            shape="packet-not-traced",
        )
    return None


def _on(channel: int) -> str:
    return f" on channel {channel}" if channel >= 0 else ""


def _names(evidence: Evidence) -> Finding | None:
    """A packet for a device that the scenario does not have, or that uses the main channel."""
    known = {device.id for device in evidence.scenario.devices}
    for device in evidence.traced_devices(Side.DESTINATION, INCOMING):
        record = evidence.trace(Side.DESTINATION, INCOMING, device)[0]
        if device not in known:
            name = record.args.get("name", device)
            return RULE.violated(
                f"a packet came in for {name}, which is no device here",
                record,
                shape="packet-for-no-device",
            )
        if device not in evidence.multifd_devices:
            return RULE.violated(
                f"a packet came in for {device}, whose state uses the main channel",
                record,
                shape="packet-for-main-channel-device",
            )
    return None


def _expected(evidence: Evidence, device: str) -> Prediction:
    """Data packets of ``device``, from its reads if they were recorded."""
    if main_bytes(evidence, device) == 0 and (reads := given_reads(evidence, device)) >= 0:
        return Prediction(reads, "the device's reads")
    return predict(evidence, device)


def _channels(evidence: Evidence) -> Finding | None:
    """What each channel counted against the incoming packets of its thread."""
    ends = evidence.trace(Side.DESTINATION, "multifd_recv_thread_end")
    ram = Counter(r.args["id"] for r in evidence.trace(Side.DESTINATION, "multifd_recv_unfill"))
    incoming = Counter(
        record.channel
        for device in evidence.traced_devices(Side.DESTINATION, INCOMING)
        for record in evidence.trace(Side.DESTINATION, INCOMING, device)
    )
    if (
        not evidence.endings.is_completed
        or -1 in incoming
        or not all(ram[e.args["id"]] for e in ends)
    ):
        return None
    # A channel that fails may have counted a packet whose data did not arrive.
    failed = {
        record.channel
        for record in evidence.trace(Side.DESTINATION, "multifd_recv_terminate_threads")
        if record.args.get("error")
    }
    for end in ends:
        channel, packets = end.args["id"], end.args["packets"]
        counted = packets - ram[channel]
        if channel in failed and counted == incoming[channel] + 1:
            continue
        if counted != incoming[channel]:
            return RULE.violated(
                f"channel {channel} counted {packets} packets, {ram[channel]} of them RAM, but "
                f"{incoming[channel]} device state packets came in on it",
                end,
                shape="channel-counts-otherwise",
            )
    return None
