"""SET-9: switchover-ack and return-path work, on and off.

Without a return path the source cannot learn the state of the destination; what it sends must
arrive all the same.  So it is judged, whatever faults have changed, if a source that completed
has ended a channel inside a packet.  With switchover-ack the source's guest is not stopped
before the destination has loaded the initial bytes that a device gives in pre-copy
(VFIO_PRECOPY_INFO, docs/devel/migration/vfio.rst).  A guest that is paused is not waited for: it
has no downtime (migration_can_switchover() in migration/migration.c).
"""

from harness.check import interruption
from harness.check.assumptions import Assumption
from harness.check.evidence import MAIN_DATA, Evidence
from harness.check.rule import Rule, completed
from harness.check.verdict import Finding
from harness.history.records import Side
from harness.model.expectation import Expectation
from harness.scenario import Scenario
from harness.scenario.misreports import Query

RULE = Rule(
    id="SET-9",
    title="switchover-ack and return-path work, on and off",
    needs=(Assumption.COMPLETE, Assumption.LAUNCHED, Assumption.DESTINATION_TRACE),
    trusts=(Assumption.ENDINGS_KNOWN,),
)
ACK = "switchover-ack"


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    if scenario.return_path and ACK not in scenario.capabilities:
        return f"return-path is on, and {ACK} is not set"
    return completed(scenario, expectation) if scenario.return_path else ""


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    """Without a return path the source may cut its state off whatever else is wrong."""
    if evidence.scenario.return_path or interruption.cut_off(evidence) is not None:
        return ""
    return completed(evidence.scenario, evidence.expectation)


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    endings = evidence.endings
    source, destination = (endings.status(side) for side in (Side.SOURCE, Side.DESTINATION))
    if source == "completed" and destination != "completed":
        path = "with" if evidence.scenario.return_path else "without"
        return RULE.violated(
            f"{path} a return path the source completed, but not all state arrived: the "
            f"destination's status is {destination or 'not known'}",
            endings.last_status(Side.SOURCE),
            endings.last_status(Side.DESTINATION),
            *(record for record, text in endings.texts(Side.DESTINATION)[-1:] if text),
            endings.deadline,
            shape=f"source-completed-{path}-return-path",
        )
    if not endings.is_completed:
        return RULE.unknown("the migration did not complete")
    wrong = interruption.damaged(evidence)
    if wrong is not None:
        if not wrong[1]:
            return RULE.unknown(wrong[0])
        return RULE.violated(wrong[0], *wrong[1], shape="bytes-differ")
    return (
        _acknowledged(evidence)
        if evidence.scenario.capabilities.get(ACK)
        else RULE.valid("it completed")
    )


def _acknowledged(evidence: Evidence) -> Finding:
    stopped = interruption.switchover(evidence)
    if stopped is None:
        return RULE.unknown("the source's stop was not seen")
    initial = 0
    for device in evidence.scenario.emulated:
        if not device.pre_copy or not device.precopy_initial_bytes:
            continue
        if any(each.query is Query.PRECOPY_INFO for each in device.misreports):
            continue  # PRE-4
        if any(change.initial_bytes is not None for change in device.precopy_changes):
            continue  # PRE-1
        loaded = sum(
            record.args["data_size"]
            for record in evidence.trace(Side.DESTINATION, MAIN_DATA, device.id)
            if record.t_ns < stopped.t_ns
        )
        if loaded < device.precopy_initial_bytes:
            is_paused = interruption.was_paused_at(evidence, stopped.t_ns)
            if is_paused is None:
                return RULE.unknown("whether the guest was paused at the switchover is not known")
            if is_paused:
                return RULE.valid("it completed; a paused guest was not waited for")
            return RULE.violated(
                f"{device.id}: the source stopped when the destination had loaded {loaded} of "
                f"{device.precopy_initial_bytes} initial bytes",
                *evidence.trace(Side.DESTINATION, MAIN_DATA, device.id)[-1:],
                stopped,
                shape="stopped-before-initial-bytes",
            )
        initial += device.precopy_initial_bytes
    return RULE.valid("the source stopped once the initial bytes were loaded", initial=initial)
