"""Fault plans round-trip, describe themselves, and refuse what means nothing."""

from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Fields, Order, Select, Until, Which

PLAN: plan.FaultPlan = (
    plan.Reorder(order=Order.REVERSED),
    plan.Reorder(order=(2, 0, 1), select=Select(device="vfio1")),
    plan.Reorder(order=Order.ONE_CHANNEL_DELAYED, channel=3),
    plan.Reorder(order=tuple(range(40))),
    plan.MoveToChannel(channel=0),
    plan.MoveToChannel(select=Select(config=False)),
    plan.Duplicate(select=Select(idx=(3,))),
    plan.Duplicate(until=Until(loaded=True), channel=2, copies=3),
    plan.Drop(select=Select(config=True)),
    plan.Hold(select=Select(idx=(0, 4), channel=1), until=Until(others=True)),
    plan.Hold(until=Until(told="queued", value=7)),
    plan.Hold(until=Until(told="paused")),
    plan.Hold(until=Until(packets=1)),
    plan.Delay(delay_s=0.25),
    plan.Pace(bytes_per_s=1e6),
    plan.Rewrite(fields=Fields(magic=7, idx=9, idstr="nobody")),
    plan.Rewrite(fields=Fields(idstr="x" * 256)),
    plan.Flip(offset=-1, mask=1),
    plan.Flip(length=4),
    plan.Truncate(size=5),
    plan.Truncate(size=500, is_stale=True),
    plan.Extend(size=7),
    plan.CutStream(size=100),
    plan.CutStream(size=0, is_abrupt=True),
    plan.Rechunk(size=4096),
    plan.Inject(fields=Fields(idx=100), copies=5, idx_step=1, size=64, is_before=True),
    plan.Inject(payload=b"\x00\xff", channel=1),
    plan.Inject(data=b""),
    plan.CloseChannel(),
    plan.CloseChannel(which=Which.ALL, nth=4, is_before=True, is_abrupt=True),
    plan.StallMain(until=Until(delay_s=2), since="opened"),
    plan.Hello(select=Select(channel=1), channel_id=2, magic=16),
    plan.Hello(uuid=UUID(int=7), version=2),
    plan.HoldConnections(until=Until(told="go")),
    plan.HoldConnections(until=Until(delay_s=2), accepted=1),
)
LINES = """\
reorder every packet: reversed
reorder every packet of vfio1: 2 0 1
reorder every packet: one_channel_delayed (3)
reorder every packet: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 ...
move every packet to channel 0
move every data packet to each channel in turn
duplicate packet 3, at once
duplicate every packet 3 times on channel 2, waiting until it was loaded
drop the configuration packet
hold packets 0, 4 on channel 1 until all others went
hold every packet until queued 7
hold every packet until paused
hold every packet until 1 more packet
delay every packet by 0.25 s
pace every packet to 1e+06 bytes/s
rewrite every packet: magic = 0x7, idstr = 'nobody', idx = 9
rewrite every packet: idstr = 256 characters
flip byte -1 of every packet by 0x01
flip byte 0 and 3 more of every packet by 0xff
truncate every packet to 5 bytes
truncate every packet to 500 bytes, its length as before
extend every packet by 7 bytes
cut the stream 100 bytes into every packet
cut the stream abruptly 0 bytes into every packet
rechunk every packet to 4096 bytes
inject 5 packets before every packet with idx = 100 idx rising by 1 64 bytes of data
inject a packet behind every packet a payload of 2 bytes on channel 1
inject a packet behind every packet 0 bytes of data
close its channel behind every packet
close all channels abruptly before every packet (number 4 of them)
stall the main channel from opened on for 2 s
rewrite the hello of channel 1: magic = 0x10, channel_id = 2
rewrite the hello of every channel: version = 2, uuid = '00000000-0000-0000-0000-000000000007'
hold the connections of the source until go
hold the connections beyond the first 1 for 2 s
"""


@pytest.mark.parametrize("fault", PLAN, ids=lambda fault: fault.describe())
def test_each_fault_round_trips(fault: plan.Fault) -> None:
    data = msgspec.json.encode(fault)
    assert msgspec.json.decode(data, type=plan.Fault) == fault


def test_a_plan_round_trips_as_a_whole() -> None:
    assert msgspec.json.decode(msgspec.json.encode(PLAN), type=plan.FaultPlan) == PLAN


def test_every_kind_of_fault_is_tested_here() -> None:
    assert {type(fault) for fault in PLAN} == set(plan.Fault.__args__)


def test_each_fault_describes_itself_in_a_line() -> None:
    assert [fault.describe() for fault in PLAN] == LINES.splitlines()


def test_a_plan_is_one_line() -> None:
    assert plan.describe(PLAN[:2]) == (
        "reorder every packet: reversed; then reorder every packet of vfio1: 2 0 1"
    )
    assert plan.describe(()) == "no faults"


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"told": "a", "packets": 1},
        {"others": True, "loaded": True},
        {"packets": -1},
        {"delay_s": -1.0},
    ],
)
def test_until_is_one_moment(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="one of"):
        Until(**wrong)


@pytest.mark.parametrize(
    ("fault", "wrong"),
    [
        (plan.Pace, {"bytes_per_s": 0}),
        (plan.Rechunk, {"size": 0}),
        (plan.Extend, {"size": 0}),
        (plan.Flip, {"mask": 0}),
        (plan.Flip, {"mask": 256}),
        (plan.Flip, {"length": 0}),
        (plan.Hello, {}),
        (plan.Hello, {"select": Select(channel=1)}),
        (plan.Hello, {"channel_id": 256}),
        (plan.Hello, {"version": -1}),
        (plan.Hello, {"channel_id": 1, "select": Select(channel=1, idx=(2,))}),
        (plan.HoldConnections, {"until": Until(others=True)}),
        (plan.HoldConnections, {"until": Until(told="go"), "accepted": -1}),
        (plan.HoldConnections, {"until": Until(told="go"), "select": Select(channel=0)}),
    ],
)
def test_faults_that_mean_nothing_are_refused(fault: type, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        fault(**wrong)


@pytest.mark.parametrize(
    "data",
    [
        b'{"fault": "explode"}',
        b'{"fault": "drop", "selct": {}}',
        b'{"fault": "hold"}',
        b'{"fault": "reorder", "order": "sideways"}',
        b'{"fault": "rechunk", "size": 0}',
    ],
)
def test_plans_written_wrongly_are_refused(data: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(data, type=plan.Fault)


@given(
    st.builds(
        plan.Rewrite,
        select=st.builds(
            Select,
            device=st.text(),
            idx=st.lists(st.integers(0, 2**32 - 1)).map(tuple),
            config=st.none() | st.booleans(),
            channel=st.none() | st.integers(0, 254),
        ),
        fields=st.builds(
            Fields,
            idstr=st.none() | st.text(),
            magic=st.integers(0, 2**32 - 1),  # at least one is set
            idx=st.none() | st.integers(0, 2**32 - 1),
            flags=st.none() | st.integers(0, 2**32 - 1),
        ),
    )
)
def test_any_selection_and_any_fields_round_trip(fault: plan.Rewrite) -> None:
    assert msgspec.json.decode(msgspec.json.encode(fault), type=plan.Fault) == fault
    assert "\n" not in fault.describe() or "\n" in fault.select.device


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Until(told="config_loaded"), "without telling the device"),
        (
            lambda: plan.Hold(select=Select(config=True), until=Until(loaded=True)),
            "nobody tells when a configuration has been loaded",
        ),
        (
            lambda: plan.Duplicate(select=Select(config=True), until=Until(loaded=True)),
            "nobody tells when a configuration has been loaded",
        ),
        (lambda: plan.StallMain(until=Until(loaded=True)), "which is about one packet"),
    ],
)
def test_moment_that_nobody_tells_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_data_packets_can_wait_for_their_load():
    assert plan.Duplicate(select=Select(config=False), until=Until(loaded=True))
