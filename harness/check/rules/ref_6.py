"""REF-6: An index far beyond what the state needs is refused, or costs bounded memory.

``model.delivery.FAR`` defines "far".  "Bounded" means: the destination's high-water mark of
resident memory is below the sum of its RAM, twice the state and 512 MiB (SPARE_MIB).  A destination
that runs out of memory is ended by a signal.
"""

from harness.check import refusal
from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.prediction_input import seen_end
from harness.check.rule import Rule, with_faults
from harness.check.verdict import Finding
from harness.history.process import Memory
from harness.history.records import Side
from harness.model.prediction import Outcome
from harness.scenario import MIB

RULE = Rule(
    id="REF-6",
    title="An index far beyond the state is refused, or costs bounded memory",
    skip_reason=with_faults,
    trusts=(Assumption.ENDINGS_KNOWN,),
)
SPARE_MIB = 512


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    return (
        "" if refusal.reasons(evidence, "REF-6") else "no index far beyond the state was delivered"
    )


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    reason = refusal.reasons(evidence, "REF-6")[0]
    packet, what = refusal.packet_of(evidence, reason), refusal.describe(reason)
    end = evidence.endings.crash(Side.DESTINATION)
    if end is not None and end.args.signal:
        signal = end.args.signal
        return RULE.violated(
            f"{what}: the destination QEMU ended by signal {signal}",
            packet,
            end,
            shape=f"signal-{signal}-{refusal.kinds(evidence, 'REF-6')}",
        )
    memory = evidence.of(Memory, Side.DESTINATION)
    limit_kib = (
        evidence.scenario.ram_mib + SPARE_MIB
    ) * 1024 + 2 * evidence.scenario.state_size // 1024
    used = max(memory, key=lambda record: record.args.hwm_kib, default=None)
    if used is not None and used.args.hwm_kib > limit_kib:
        return RULE.violated(
            f"{what}: the destination used {used.args.hwm_kib // 1024} MiB, more than "
            f"{limit_kib * 1024 // MIB}",
            packet,
            used,
            shape="memory-unbounded",
        )
    if seen_end(evidence) is Outcome.REFUSED:
        return refusal.judge(evidence, RULE)
    if used is None:
        return RULE.unknown("the destination's memory was not measured")
    return RULE.valid(f"{what}: its memory is bounded", hwm_kib=used.args.hwm_kib)
