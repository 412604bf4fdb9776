"""SET-4: any number of channels and devices.

All channels that were asked for take part: each has a receiving thread at the
destination, which tells its number (multifd_recv_thread_start).  All devices arrive:
each one's configuration is loaded, which is the last that is loaded of a device.
"""

from harness.check.assumptions import Assumption
from harness.check.rule import Findings, Rule, completed
from harness.check.run import CONFIG_END, CheckedRun
from harness.check.verdict import Finding
from harness.history.records import Side
from harness.model.expectation import Expectation, has_multifd
from harness.scenario import Scenario

found = Findings("SET-4")
STARTED = "multifd_recv_thread_start"


def asks(scenario: Scenario, expectation: Expectation) -> str:
    if not has_multifd(scenario):
        return "multifd is off"
    return completed(scenario, expectation)


def judge(run: CheckedRun) -> Finding:
    if not run.endings.is_completed:
        return found.unknown("the migration did not complete")
    threads = run.trace(Side.DESTINATION, STARTED)
    channels = sorted({record.args["id"] for record in threads})
    end = run.endings.last_status(Side.DESTINATION)
    numbers = {"channels": len(channels), "devices": len(run.scenario.devices)}
    if not threads:
        return found.unknown("no receiving thread was seen", **numbers)
    if channels != list(range(run.scenario.channels)) or len(threads) != len(channels):
        return found.violated(
            f"{len(threads)} receiving threads for channels {_listed(channels)}, where "
            f"{run.scenario.channels} channels were asked for",
            threads[-1],
            end,
            shape="other-channels",
            **numbers,
        )
    for device in run.scenario.devices:
        if not run.trace(Side.DESTINATION, CONFIG_END, device.id):
            return found.violated(
                f"the destination completed, but {device.id} was not loaded to its end",
                end,
                shape="device-not-loaded",
                **numbers,
            )
    return found.valid("all channels took part, and all devices arrived", **numbers)


def _listed(channels: list[int]) -> str:
    return ", ".join(map(str, channels))


RULE = Rule(
    id="SET-4",
    title="All channels take part, and all devices arrive",
    asks=asks,
    judge=judge,
    needs=(Assumption.COMPLETE, Assumption.LAUNCHED, Assumption.DESTINATION_TRACE),
)
