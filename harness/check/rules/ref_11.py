"""REF-11: Every error of a refusal names the device that it concerns.

The device's name is the one of its trace events (vbasedev->name), or its id.  A damaged
channel and an unknown idstr concern no device.

Only an error that was reported after the refused packet had come counts: QEMU names its devices
in warnings at start-up, too.
"""

from harness.check import names, refusal, words
from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.prediction_input import LIMIT, seen_end
from harness.check.rule import Rule, with_faults
from harness.check.verdict import Finding
from harness.history.records import Side
from harness.model.expectation import Expectation
from harness.model.prediction import Outcome
from harness.scenario import Scenario

RULE = Rule(
    id="REF-11",
    title="Every error of a refusal names the device",
    trusts=(Assumption.ENDINGS_KNOWN,),
)


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    if seen_end(evidence) is not Outcome.REFUSED:
        return "the destination refused nothing"
    possible = evidence.prediction.reasons if evidence.prediction else ()
    if not possible:
        return "nothing was delivered that must be refused"
    if not all(reason.device for reason in possible):
        return "what was refused may concern no device"
    return ""


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    possible = evidence.prediction.reasons if evidence.prediction else ()
    devices = sorted({reason.device for reason in possible})
    seen = {device: names.traced(evidence, device, Side.DESTINATION) for device in devices}
    known = {name for device, traced in seen.items() for name in {device} | traced}
    said = refusal.errors(evidence)
    if not said.certain:
        return RULE.unknown("the destination failed without an error")
    if refusal.is_cut_off(evidence):
        return RULE.unknown("the error may be about the end of the stream")
    for _, text in said.certain:
        if words.is_named(text, known):
            return RULE.valid("the error names the device", said=text)
    if any(words.is_named(text, known) for _, text in said.possible):
        return RULE.unknown("when the destination named the device is not known")
    if not any(seen.values()):
        return RULE.unknown("the name that the destination has for the device was not seen")
    record, text = said.certain[-1]
    return RULE.violated(
        f'the error must name {" or ".join(devices)}: "{text}"',
        record,
        refusal.packet_of(evidence, possible[0]),
        shape="unnamed",
    )


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    if any(LIMIT in device.properties for device in scenario.devices):
        return ""  # a slow device may meet it
    return with_faults(scenario, expectation)
