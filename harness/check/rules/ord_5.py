"""ORD-5: The packets that come in are exactly those into which the state is split.

n data packets have the indices 0 to n - 1, and the configuration has n.  With no data at all
the configuration is packet 0.  ``check.packet_count`` derives n.  STA-3 judges
whether each index comes in once, ORD-1 whether short reads add up to all bytes.  With a relay, the
packets that the source sent are counted, because a fault may split them again on their way.
"""

from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.packet_count import predict
from harness.check.rule import Rule, over_multifd
from harness.check.verdict import Finding
from harness.history.records import Record, Side
from harness.history.wire import PacketIn
from harness.model.expectation import Expectation
from harness.scenario import Scenario

RULE = Rule(
    id="ORD-5",
    title="The state is split into the right packets, whatever its size",
    needs=(Assumption.COMPLETE, Assumption.LAUNCHED, Assumption.DESTINATION_TRACE),
)


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    known = [d for d in expectation.multifd_devices if d.total_bytes is not None]
    reason = over_multifd(scenario, expectation)
    return reason or ("" if known else "how much state the devices have is not known")


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    packets: dict[str, int] = {}
    unpredicted = []
    for device in evidence.multifd_devices:
        if evidence.expectation.device(device).total_bytes is None:
            continue
        prediction = predict(evidence, device)
        if prediction.packets < 0:
            unpredicted.append(f"{device}: {prediction.source}")
            continue
        came = _came(evidence, device)
        highest = max(came, default=-1)
        n = prediction.packets
        if highest > n:
            return RULE.violated(
                f"{device}: packet {highest} came in, but the state makes {n} data "
                f"packets (by {prediction.source}) and the configuration is packet {n}",
                came[highest],
                shape="too-many-packets",
                data_packets=n,
            )
        missing = next((idx for idx in range(n + 1) if idx not in came), -1)
        if missing >= 0 and evidence.endings.is_completed:
            return RULE.violated(
                f"{device}: the migration completed, but packet {missing} of {n + 1} "
                f"(by {prediction.source}) never came in",
                came.get(highest),
                evidence.endings.last_status(Side.DESTINATION),
                shape="packet-never-came",
                data_packets=n,
            )
        packets[device] = len(came)
    if unpredicted:
        return RULE.unknown("; ".join(unpredicted), packets=packets)
    return RULE.valid("the packets are those into which the state is split", packets=packets)


def _came(evidence: Evidence, device: str) -> dict[int, Record]:
    """The packets by their indices: from the source, or as the destination traced them."""
    if wire := evidence.of(PacketIn, device=device):
        return {record.args.idx: record for record in wire if record.args.idx is not None}
    return {**evidence.reception(device).incoming}
