"""SET-7: With x-migration-load-config-after-iter the configuration waits for the main channel.

If it is on, a device's configuration is loaded only once the state that other devices send while
the guest runs has been loaded from the main channel; if it is off, as soon as it is next.  Both
show when the main channel is stalled while the packets go on: the load must end
after the stall, or before it.  A configuration that waited although it must not is a violation only
if it was next for 200 ms (SOON_NS) or more before the stall's end: on a busy machine the data may
come late, or the load thread may wake late.  (docs/devel/migration/vfio.rst; from QEMU 10.1.)
"""

from harness.check.assumptions import Assumption
from harness.check.evidence import CONFIG_START, THREAD_START, Evidence
from harness.check.rule import Rule, over_multifd
from harness.check.verdict import Finding
from harness.history.records import Side
from harness.history.wire import MainResumed, MainStalled
from harness.model.expectation import Expectation
from harness.scenario import Device, Scenario

RULE = Rule(
    id="SET-7",
    title="With x-migration-load-config-after-iter the configuration waits for the main channel",
    needs=(Assumption.COMPLETE, Assumption.LAUNCHED, Assumption.DESTINATION_TRACE),
)
SOON_NS = 200_000_000
PROPERTY = "x-migration-load-config-after-iter"


@RULE.skips
def skip_reason(scenario: Scenario, expectation: Expectation) -> str:
    if not any(PROPERTY in device.properties for device in scenario.devices):
        return f"{PROPERTY} is not set"
    return over_multifd(scenario, expectation)


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    is_seen = bool(evidence.of(MainStalled)) and bool(evidence.of(MainResumed))
    return "" if is_seen else "the main channel was not stalled: nothing had to be waited for"


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    resumed = evidence.of(MainResumed)[-1]
    waited = {}
    for device in evidence.devices:
        if PROPERTY not in device.properties or device.id not in evidence.multifd_devices:
            continue
        begun = evidence.trace(Side.DESTINATION, THREAD_START, device.id)
        loaded = evidence.trace(Side.DESTINATION, CONFIG_START, device.id)
        if not begun or begun[0].t_ns > resumed.t_ns or not loaded:
            return RULE.unknown(f"{device.id} was not loaded while the main channel was stalled")
        waited[device.id] = loaded[0].t_ns > resumed.t_ns
        must = must_wait(device)
        if waited[device.id] and not must:
            if _next_since(evidence, device.id) + SOON_NS > resumed.t_ns:
                return RULE.unknown(
                    f"{device.id}'s configuration was next too late: the main channel went on"
                )
            return RULE.violated(
                f"{device.id}: {PROPERTY} is off, but its configuration waited for the main "
                "channel",
                resumed,
                loaded[0],
                shape="configuration-waited",
            )
        if must and not waited[device.id]:
            return RULE.violated(
                f"{device.id}: {PROPERTY} is on, but its configuration did not wait for the main "
                "channel",
                loaded[0],
                resumed,
                shape="configuration-did-not-wait",
            )
    return RULE.valid("each configuration waited for the main channel, or did not, as set",
                       waited=waited)  # fmt: skip


def _next_since(evidence: Evidence, device: str) -> int:
    """When all that comes before the configuration was loaded, and it had come itself."""
    reception = evidence.reception(device)
    return max(record.t_ns for record in (*reception.incoming.values(), *reception.ends.values()))


def must_wait(device: Device) -> bool:
    """Whether the property is on."""
    return device.properties[PROPERTY] in (True, "on")
