"""REF-12: x-migration-max-queued-buffers-size limits the bytes that a device has queued.

The property exists from QEMU 10.1 on.  Bytes above the limit are refused; below it, the limit has
no effect.  How many bytes are queued at a time depends on the order of arrival and on the speed of
the device.  So the requirement applies only if the limit is exceeded whatever these are, or is
not exceeded whatever these are, or if the destination reports that it was exceeded.
"""

from harness.check import refusal
from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.prediction_input import EXCEEDED, LIMIT, may_exceed, seen_end
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history.records import Record, Side
from harness.model.expectation import Ending, Expectation
from harness.model.prediction import Outcome
from harness.scenario import Scenario

RULE = Rule(
    id="REF-12",
    title="The limit of queued bytes is enforced, and has no effect below it",
    trusts=(Assumption.ENDINGS_KNOWN,),
)


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    if not any(LIMIT in device.properties for device in scenario.devices):
        return "no device has a limit of queued bytes"
    if expectation.ending in (Ending.BLOCKED, Ending.LAUNCH_REFUSED, Ending.REFUSED_AT_SETUP):
        return f"the devices do not get that far: {expectation.ending}"
    return "" if expectation.multifd_devices else "no device's state goes over multifd"


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    if evidence.prediction is None:
        return _asked_without_faults(evidence)
    return refusal.skip_reason_of(evidence, "REF-12") if refusal.reasons(evidence, "REF-12") else ""


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    if refusal.reasons(evidence, "REF-12"):
        return refusal.judge(evidence, RULE)
    said = _exceeded(evidence)
    if said is not None:
        return RULE.violated(
            "no device can have more bytes queued than its limit, but the destination reports it",
            said,
            shape="refused-below-limit",
        )
    if seen_end(evidence) is Outcome.COMPLETED:
        return RULE.valid("a limit that was not reached had no effect")
    return RULE.unknown("the migration did not complete, for another reason")


def _asked_without_faults(evidence: Evidence) -> str:
    if _exceeded(evidence) is not None:
        return ""
    if evidence.expectation.ending is not Ending.COMPLETED:
        return f"the migration must not complete: {evidence.expectation.ending}"
    limited = [
        (expected, int(spec.properties[LIMIT]))
        for spec in evidence.devices
        for expected in evidence.expectation.multifd_devices
        if spec.id == expected.id and LIMIT in spec.properties
    ]
    if any(may_exceed(evidence, *each) for each in limited):
        return "how many bytes were queued at a time is not known"
    return ""


def _exceeded(evidence: Evidence) -> Record | None:
    said = evidence.endings.texts(Side.DESTINATION)
    return next((record for record, text in said if EXCEEDED in text), None)
