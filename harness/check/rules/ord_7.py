"""ORD-7: Device state is spread over the channels if there are several.

QEMU gives each packet to the next channel that is idle (multifd_send() in
migration/multifd.c), so a state of many packets reaches the destination on more than one.
The others may be busy with RAM for a while, or hold a packet of another device because their
threads get no processor.  So it is a violation that all packets come on one channel only if there
are at least 16 (CERTAIN), and at least 4 for each channel, and no other channel had a packet of
any device.  The distribution is reported, not judged.  The channel of a record is that of its
thread or, with a relay, the one on which the source sent the packet.
"""

from collections import Counter
from collections.abc import Sequence

from harness.check.assumptions import Assumption
from harness.check.evidence import INCOMING, Evidence
from harness.check.rule import Rule, over_multifd
from harness.check.verdict import Finding
from harness.history.records import Record, Side
from harness.history.wire import PacketIn
from harness.model.expectation import Expectation
from harness.scenario import Scenario

RULE = Rule(
    id="ORD-7",
    title="Device state is spread over the channels",
    needs=(Assumption.COMPLETE, Assumption.LAUNCHED, Assumption.DESTINATION_TRACE),
)
CERTAIN = 16


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    if scenario.channels < 2:
        return "one channel only"
    many = [
        device
        for device in expectation.multifd_devices
        if device.data_packets is not None and device.data_packets >= 2 * scenario.channels
    ]
    reason = over_multifd(scenario, expectation)
    return reason or ("" if many else f"no device with {2 * scenario.channels} packets or more")


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    spread: dict[str, dict[str, int]] = {}
    many = 2 * evidence.scenario.channels
    came = {spec.id: _incoming(evidence, spec.id) for spec in evidence.expectation.multifd_devices}
    used = {record.channel for incoming in came.values() for record in incoming}
    for device in evidence.expectation.multifd_devices:
        if (device.data_packets or 0) < many:
            continue
        incoming = came[device.id]
        channels = Counter(record.channel for record in incoming)
        if -1 in channels:
            return RULE.unknown(f"{device.id}: the channel of a packet is not known")
        if not channels:
            return RULE.unknown(f"{device.id}: no packet arrived")
        if len(used) == 1:
            if len(incoming) < max(CERTAIN, 2 * many):
                return RULE.unknown(
                    f"{device.id}: all {len(incoming)} packets came in on one channel, too few to "
                    "show that the others were idle"
                )
            return RULE.violated(
                f"{device.id}: all {len(incoming)} packets came in on channel "
                f"{incoming[0].channel}, of {evidence.scenario.channels} channels",
                incoming[0],
                incoming[-1],
                shape="one-channel-only",
            )
        spread[device.id] = {str(channel): count for channel, count in sorted(channels.items())}
    return RULE.valid("device state came in on several channels", packets_by_channel=spread)


def _incoming(evidence: Evidence, device: str) -> Sequence[Record]:
    """The device's packets: as the relay read them, else as the destination traced them."""
    return evidence.of(PacketIn, device=device) or evidence.trace(
        Side.DESTINATION, INCOMING, device
    )
