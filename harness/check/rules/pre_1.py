"""PRE-1: With switchover-ack the initial bytes of a device arrive before the source stops.

So do new initial bytes, of which a device informs QEMU with VFIO_PRECOPY_INFO_REINIT (linux/vfio.h
of Linux 7.1): the source asks for another acknowledgement (vfio_query_precopy_size() in
hw/vfio/migration.c).  If they come once the switchover is decided, the migration fails with that
reason (qemu_savevm_query_pending()), or waits for them.  Machine types before 11.1 and older QEMUs
keep to one acknowledgement for each device; there only the first initial bytes are judged.

How it could be wrong.  VIOLATED of a right QEMU: only what QEMU was answered counts, and only
against a source that completed.  The destination's own trace of a load may be late, but is made
before the acknowledgement that the source waits for.  VALID for nothing seen: the stop, and loads
of that many bytes before it, must have been seen; of a failed migration, the reason.
"""

from harness.check import interruption
from harness.check.assumptions import Assumption
from harness.check.evidence import MAIN_DATA, Evidence
from harness.check.rule import Rule, completed
from harness.check.verdict import Finding
from harness.history.device import PrecopyChanged, Reinit
from harness.history.records import Record, Side
from harness.model import settings
from harness.model.expectation import Ending, Expectation
from harness.scenario import EmulatedDevice, Scenario

RULE = Rule(
    id="PRE-1",
    title="With switchover-ack initial bytes, also new ones, arrive before the source stops",
    needs=(
        Assumption.COMPLETE,
        Assumption.LAUNCHED,
        Assumption.SOURCE_TRACE,
        Assumption.DESTINATION_TRACE,
    ),
    trusts=(Assumption.ENDINGS_KNOWN,),
)
ACK = "switchover-ack"
TOO_LATE = "Switchover ACK was requested by"
"""Of QEMU's error."""
_ACKS_AGAIN = (11, 1)
"""QEMU and machine type from which each REINIT is acknowledged."""


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    if not scenario.capabilities.get(ACK):
        return f"{ACK} is not set"
    if not any(_is_judged(spec) for spec in scenario.emulated):
        return "no device that tells the truth gives initial bytes"
    return "" if expectation.ending is Ending.REINIT_LATE else completed(scenario, expectation)


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    return "the guest was paused" if interruption.was_stopped_by_plan(evidence) else ""


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    new = evidence.of(Reinit, Side.SOURCE)
    if evidence.endings.status(Side.SOURCE) == "failed" and new:
        return _failed(evidence, new[-1])
    if not evidence.endings.is_completed:
        return RULE.unknown("the migration did not complete")
    stopped = interruption.switchover(evidence)
    if stopped is None:
        return RULE.unknown("the source's stop was not seen")
    initial, again = 0, _acknowledges_again(evidence)
    for spec in filter(_is_judged, evidence.scenario.emulated):
        reinits = evidence.of(Reinit, Side.SOURCE, spec.id)
        changed = evidence.of(PrecopyChanged, Side.SOURCE, spec.id)
        if sum(change.args.is_reinit for change in changed) > len(reinits):
            return RULE.unknown(f"{spec.id}: QEMU did not ask for its new initial bytes")
        if reinits and not again:
            return RULE.unknown(f"{spec.id}: this machine type acknowledges initial bytes once")
        last = reinits[-1].args if reinits else None
        wanted = last.position + last.initial_bytes if last else spec.precopy_initial_bytes
        loads = evidence.trace(Side.DESTINATION, MAIN_DATA, spec.id)
        loaded = sum(each.args["data_size"] for each in loads if each.t_ns < stopped.t_ns)
        if loaded < wanted:
            return RULE.violated(
                f"{spec.id}: the source stopped when the destination had loaded {loaded} of "
                f"{wanted} bytes, up to the end of the initial bytes",
                *reinits[-1:],
                *loads[-1:],
                stopped,
                shape="stopped-before-new-initial-bytes"
                if reinits
                else "stopped-before-initial-bytes",
            )
        initial += wanted
    return RULE.valid(
        "the source stopped once the initial bytes were loaded", bytes=initial, reinits=len(new)
    )


def _is_judged(spec: EmulatedDevice) -> bool:
    return spec.pre_copy and bool(spec.precopy_initial_bytes) and not spec.misreports


def _acknowledges_again(evidence: Evidence) -> bool:
    """Whether both QEMUs and the machine type do."""
    versions = [evidence.manifest.source.version[:2], evidence.manifest.destination.version[:2]]
    machine = evidence.expectation.machine
    return min(versions) >= _ACKS_AGAIN and (machine is None or machine >= _ACKS_AGAIN)


def _failed(evidence: Evidence, new: Record[Reinit]) -> Finding:
    """How a migration failed in which a device had new initial bytes."""
    said = [text for _, text in evidence.endings.texts(Side.SOURCE) if text]
    why = next((text for text in said if settings.is_said(TOO_LATE, text)), "")
    if not why:
        return RULE.unknown(f"the migration failed for another reason: {''.join(said[-1:])}")
    gone = interruption.lost(evidence)
    if gone is not None:
        sentence = f"{new.device} had new initial bytes at the switchover, and {gone[0]}"
        return RULE.violated(sentence, new, *gone[1], shape="source-lost")
    if evidence.endings.status(Side.DESTINATION) == "completed":
        return RULE.violated(
            f"the source failed ({why}), but the destination completed",
            new,
            evidence.endings.last_status(Side.DESTINATION),
            shape="destination-completed",
        )
    if interruption.running(evidence, Side.SOURCE) is None:
        return RULE.unknown("the migration failed; whether the source runs on was not checked")
    sentence = f"{new.device} had new initial bytes at the switchover: it failed, with the reason"
    return RULE.valid(sentence, said=why)
