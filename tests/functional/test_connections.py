"""LIF-14: the relay refuses a connection of the source.

A destination that waits for the refused channel is a known deviation; it fails if a channel ends
before its hello.
"""

import pytest

from harness.scenario import EmulatedDevice, Scenario, Transport
from harness.scenario.fault_plan import Refusal, RefuseConnection


@pytest.mark.requirement("LIF-14")
@pytest.mark.parametrize(
    ("accepted", "how", "transport"),
    [
        (0, Refusal.NOT_LISTENING, Transport.TCP),
        (0, Refusal.RESET, Transport.TCP),
        (2, Refusal.NOT_LISTENING, Transport.UNIX),
    ],
)
async def test_refused_connection_fails_the_migration(
    judged, kept, accepted, how, transport
) -> None:
    scenario = Scenario(
        name="refused",
        devices=(EmulatedDevice(id="vfio0", size=1 << 16),),
        transport=transport,
        faults=(RefuseConnection(accepted=accepted, how=how),),
    )
    run = await judged(scenario)
    kept(run, "LIF-14")
