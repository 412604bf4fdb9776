"""ARC-1, ARC-2: devices that fail a change of their migration state."""

import errno

import pytest

from harness.history.device import Arc, DataFdError
from harness.scenario import (
    MIB,
    EmulatedDevice,
    Given,
    MigrationState,
    OnOffAuto,
    RefusedArc,
    SaveBehaviour,
    Scenario,
    WrongDataFd,
)

SLOW = SaveBehaviour(read_delay_s=0.05)
MAIN = {"multifd_transfer": OnOffAuto.OFF}


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


def giving(side, to, gives, **fields) -> EmulatedDevice:
    """Its state is one buffer, too, unless it is slow."""
    data_fds = (WrongDataFd(side=side, to=to, gives=gives),)
    return EmulatedDevice(**{"id": "vfio0", "size": 1000, "data_fds": data_fds, **fields})


@pytest.mark.requirement("ARC-2")
@pytest.mark.parametrize(
    "device",
    [
        giving("source", MigrationState.STOP_COPY, Given.NONE),
        giving("source", MigrationState.PRE_COPY, Given.NONE, pre_copy=True),
        giving("source", MigrationState.STOP, Given.EXTRA),
        giving("source", MigrationState.STOP_COPY, Given.EXTRA, **MAIN, pre_copy=True),
        giving("destination", MigrationState.RESUMING, Given.NONE, **MAIN),
    ],
    ids=["no STOP_COPY", "no PRE_COPY", "stray", "second", "no RESUMING"],
)
async def test_wrong_data_fd_fails_the_migration_and_none_is_left(judged, kept, device) -> None:
    run = await judged(Scenario(name="data-fd", devices=(device,)))
    (plan,) = device.data_fds
    at_destination = plan.side == "destination"
    kept(run, "ARC-2", case="write error on the main channel" if at_destination else "")
    kept(run, "RUN")
    records = run.history.records
    given = [record for record in records if isinstance(record.args, DataFdError)]
    assert given[0].side.value == plan.side
    assert (given[0].args.state, given[0].args.gives) == (plan.to.value, plan.gives.value)


@pytest.mark.requirement("ARC-2")
async def test_second_data_fd_while_the_state_is_read(judged, kept) -> None:
    device = giving(
        "source", MigrationState.STOP_COPY, Given.EXTRA, size=8 * MIB, save=SLOW, pre_copy=True
    )
    run = await judged(Scenario(name="second-data-fd", devices=(device,)))
    kept(run, "ARC-2", case="second data_fd while the state is read")


PLAIN = EmulatedDevice(id="vfio0", size=1000)
REFUSING = refusing("source", MigrationState.STOP_COPY)


@pytest.mark.requirement("ARC-1")
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "second"])
async def test_one_of_two_migrations_meets_a_refused_arc(judged_in_turn, kept, is_first) -> None:
    """The other one completes, of the same QEMU or of the one that it was migrated to."""
    one, two = (REFUSING, PLAIN) if is_first else (PLAIN, REFUSING)
    then = (Scenario(name="two", devices=(two,)),)
    runs = await judged_in_turn(Scenario(name="one", devices=(one,), then=then))
    assert len(runs) == 2
    failed, completed = runs if is_first else reversed(runs)
    kept(failed, "ARC-1")
    kept(completed, "ORD-1")
