"""LIF-1: The destination waits for a missing packet and meanwhile answers its monitor.  When the
packet comes late, the migration completes.

Which packet it waits for is in the last "starved" trace event of each device's load thread.
Whether it answers is recorded when the harness gives up: ``hung`` has the answers of the main
loop and of the monitor's own thread.  A packet is late if its load thread has starved for it
before it was delivered.

A packet that was delivered may still be in the destination's socket: its channels do not read
while they wait for the main channel.  A load thread that waits for such a packet is correct.
"""

from harness.check import planned
from harness.check.assumptions import Assumption
from harness.check.evidence import STARVED, Evidence
from harness.check.prediction_input import KINDS, seen_end
from harness.check.rule import Rule, with_faults
from harness.check.verdict import Finding
from harness.history import wire
from harness.history.records import Event, Record, Side
from harness.model.expectation import Ending
from harness.model.prediction import Outcome

RULE = Rule(
    id="LIF-1",
    title="The destination waits for a missing packet, answers meanwhile, and accepts it late",
    skip_reason=with_faults,
    trusts=(Assumption.ENDINGS_KNOWN,),
)


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    if evidence.prediction is None:
        return "no fault changed what was delivered"
    if evidence.expectation.ending is Ending.WAITING:
        return ""
    if evidence.expectation.ending is not Ending.COMPLETED:
        return f"the destination does not wait for a packet: {evidence.expectation.ending}"
    return "" if _late(evidence) else "no packet that was held back was waited for"


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    if evidence.expectation.ending is Ending.WAITING:
        return _missing(evidence)
    held, starved, out = _late(evidence)[0]
    seen = seen_end(evidence)
    what = f"{out.device}: packet {out.args.idx} came late"
    if seen is Outcome.COMPLETED:
        waited = (out.t_ns - starved.t_ns) / 1e9
        return RULE.valid(f"{what}, and the migration completed", waited_s=round(waited, 3))
    if seen is None:
        return RULE.unknown(f"{what}, and there is no record of how the migration ended")
    if excused := planned.excuse(evidence):
        return RULE.unknown(f"{what}, and the migration had not completed in time: {excused}")
    end = evidence.endings.deadline or evidence.endings.last_status(Side.DESTINATION)
    return RULE.violated(
        f"{what}, and the migration did not complete",
        held,
        starved,
        out,
        end,
        shape="late-packet-not-taken",
    )


def _missing(evidence: Evidence) -> Finding:
    endings, waits_for = (
        evidence.endings,
        evidence.prediction.waits_for if evidence.prediction else {},
    )
    for device, idx in waits_for.items():
        last = evidence.trace(Side.DESTINATION, STARVED, device)[-1:]
        waits = last[0].args["idx"] if last else idx
        if waits < idx and waits not in evidence.reception(device).incoming:
            return RULE.unknown(f"{device}: the destination has not read packet {waits} yet")
        if waits > idx and idx in evidence.reception(device).incoming:
            # Of a packet whose stated size reaches into what follows, which may be RAM.
            return RULE.unknown(
                f"{device}: packet {idx} has arrived, with other bytes than its own"
            )
        if waits != idx:
            return RULE.violated(
                f"{device}: packet {idx} is missing, but the load thread waits for packet {waits}",
                *last,
                shape="waits-for-another-packet",
            )
    seen = seen_end(evidence)
    missing = ", ".join(f"packet {idx} of {device}" for device, idx in waits_for.items())
    if seen in (Outcome.COMPLETED, Outcome.REFUSED):
        return RULE.violated(
            f"{missing} never came, but the destination {seen} the migration"
            if seen is Outcome.COMPLETED
            else f"{missing} never came, and the destination failed instead of waiting",
            endings.last_status(Side.DESTINATION) or endings.ended[Side.DESTINATION],
            shape=f"{seen}-without-packet",
        )
    asked = [record for record in endings.hung if record.side is Side.DESTINATION]
    answers = {
        name: is_alive
        for record in asked
        for name in ("main_loop_alive", "monitor_alive")
        if (is_alive := getattr(record.args, name)) is not None
    }
    if not asked or not answers:
        return RULE.unknown("whether the destination answers was not checked")
    if not all(answers.values()):
        dead = " and ".join(name.removesuffix("_alive") for name, is_ok in answers.items()
                            if not is_ok)  # fmt: skip
        return RULE.violated(
            f"the destination waits for {missing}, and its {dead.replace('_', ' ')} does not "
            "answer",
            *asked[:1],
            shape="main-loop-blocked" if answers.get("monitor_alive", True) else "monitor-blocked",
            **answers,
        )
    if not all(evidence.trace(Side.DESTINATION, STARVED, device) for device in waits_for):
        return RULE.unknown("the trace does not show what the load thread waits for")
    return RULE.valid(f"the destination waits for {missing}, and answers", **answers)


def _late(evidence: Evidence) -> list[tuple[Record[wire.Fault], Event, Record[wire.PacketOut]]]:
    """Packets that were held back and waited for: the fault, the starving, the delivery."""
    late = []
    for held in evidence.of(wire.Fault):
        if not KINDS[held.args.fault].holds_packets or held.args.idx is None:
            continue
        idx, device = held.args.idx, held.device
        outs = [r for r in evidence.of(wire.PacketOut, device=device) if r.args.idx == idx]
        starved = [
            record
            for record in evidence.trace(Side.DESTINATION, STARVED, device)
            if record.args["idx"] == idx and outs and record.t_ns < outs[0].t_ns
        ]
        if starved:
            late.append((held, starved[0], outs[0]))
    return late
