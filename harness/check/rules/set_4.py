"""SET-4: Any number of channels and devices works.

All requested channels take part: each has a receiving thread at the destination, whose trace
event has its number (multifd_recv_thread_start).  All devices arrive: the configuration of each,
which is loaded last, is loaded.
"""

from harness.check.assumptions import Assumption
from harness.check.evidence import CONFIG_END, Evidence
from harness.check.rule import Rule, completed
from harness.check.verdict import Finding
from harness.history.records import Side
from harness.model.expectation import Expectation, has_multifd
from harness.scenario import Scenario

RULE = Rule(
    id="SET-4",
    title="All channels take part, and all devices arrive",
    needs=(Assumption.COMPLETE, Assumption.LAUNCHED, Assumption.DESTINATION_TRACE),
)
STARTED = "multifd_recv_thread_start"


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    if not has_multifd(scenario):
        return "multifd is off"
    return completed(scenario, expectation)


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    if not evidence.endings.is_completed:
        return RULE.unknown("the migration did not complete")
    threads = evidence.trace(Side.DESTINATION, STARTED)
    channels = sorted({record.args["id"] for record in threads})
    end = evidence.endings.last_status(Side.DESTINATION)
    numbers = {"channels": len(channels), "devices": len(evidence.scenario.devices)}
    if not threads:
        return RULE.unknown("no receiving thread was seen", **numbers)
    if channels != list(range(evidence.scenario.channels)) or len(threads) != len(channels):
        return RULE.violated(
            f"{len(threads)} receiving threads for channels {_listed(channels)}, where "
            f"{evidence.scenario.channels} channels were requested",
            threads[-1],
            end,
            shape="other-channels",
            **numbers,
        )
    for device in evidence.scenario.devices:
        if not evidence.trace(Side.DESTINATION, CONFIG_END, device.id):
            return RULE.violated(
                f"the destination completed, but {device.id} was not loaded to its end",
                end,
                shape="device-not-loaded",
                **numbers,
            )
    return RULE.valid("all channels took part, and all devices arrived", **numbers)


def _listed(channels: list[int]) -> str:
    return ", ".join(map(str, channels))
