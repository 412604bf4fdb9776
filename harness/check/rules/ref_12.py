"""REF-12: x-migration-max-queued-buffers-size limits the bytes that a device has queued.

From QEMU 10.1.  More than that is refused, less has no effect.  How many are queued at a
time depends on the order of arrival and on the device's speed: only where more, or less,
are queued in any case does the run ask.
"""

from harness.check import refusal
from harness.check.assumptions import Assumption
from harness.check.delivered import LIMIT, seen_end
from harness.check.rule import Findings, Rule, with_faults
from harness.check.run import CheckedRun
from harness.check.verdict import Finding
from harness.history.records import Record, Side
from harness.model.expectation import Expectation
from harness.model.prediction import Outcome
from harness.scenario import Scenario

found = Findings("REF-12")


def asks(scenario: Scenario, expectation: Expectation) -> str:
    if not any(LIMIT in device.properties for device in scenario.devices):
        return "no device has a limit of queued bytes"
    return with_faults(scenario, expectation)


def asked_by(run: CheckedRun) -> str:
    if run.prediction is None:
        return "no fault changed what was delivered"
    return refusal.asked_by("REF-12")(run) if refusal.reasons(run, "REF-12") else ""


def judge(run: CheckedRun) -> Finding:
    if refusal.reasons(run, "REF-12"):
        return refusal.judge(run, found, "REF-12")
    said = _exceeded(run)
    if said is not None:
        return found.violated(
            "no device can have more bytes queued than its limit, but the destination says so",
            said,
            shape="refused-below-limit",
        )
    if seen_end(run) is Outcome.COMPLETED:
        return found.valid("a limit that was not reached had no effect")
    return found.unknown("the migration did not complete, for another reason")


def _exceeded(run: CheckedRun) -> Record | None:
    said = run.endings.texts(Side.DESTINATION)
    return next((record for record, text in said if "would exceed the size max" in text), None)


RULE = Rule(
    id="REF-12",
    title="The limit of queued bytes is kept, and below it has no effect",
    asks=asks,
    judge=judge,
    needs=(Assumption.COMPLETE, Assumption.LAUNCHED),
    trusts=(Assumption.ENDINGS_KNOWN,),
    asked_by=asked_by,
)
