"""ARC-1: devices that refuse a change of their migration state."""

import errno

import pytest

from harness.history.device import Arc
from harness.scenario import EmulatedDevice, MigrationState, RefusedArc, Scenario


def refusing(side, to, number=errno.EIO, **fields) -> EmulatedDevice:
    """Its state is one buffer, which no known deadlock needs."""
    refuses = (RefusedArc(side=side, to=to, errno=number),)
    return EmulatedDevice(id="vfio0", size=1000, refuses=refuses, **fields)


@pytest.mark.requirement("ARC-1")
@pytest.mark.parametrize(
    "device",
    [
        refusing("source", MigrationState.STOP_COPY),
        refusing("source", MigrationState.STOP_COPY, errno.ENOMEM, pre_copy=True),
        refusing("source", MigrationState.PRE_COPY, errno.ENOTTY, pre_copy=True),
        refusing("destination", MigrationState.RESUMING, errno.EINVAL),
    ],
    ids=["STOP_COPY", "STOP_COPY from pre-copy", "PRE_COPY", "RESUMING"],
)
async def test_refused_arc_fails_the_migration_and_names_the_device(judged, kept, device) -> None:
    run = await judged(Scenario(name="arc", devices=(device,)))
    kept(run, "ARC-1")
    kept(run, "RUN")
    (plan,) = device.refuses
    refused = [
        record
        for record in run.history.records
        if isinstance(record.args, Arc) and record.args.errno
    ]
    assert refused[0].side.value == plan.side
    assert (refused[0].args.state, refused[0].args.errno) == (plan.to.value, plan.errno)
