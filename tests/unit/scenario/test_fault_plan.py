"""Fault plans round-trip, describe themselves, and refuse what means nothing."""

from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Fields, Order, Select, Until, Which

EXAMPLES: list[tuple[plan.Fault, str]] = [
    (plan.Reorder(order=Order.REVERSED), "reorder every packet: reversed"),
    (
        plan.Reorder(order=(2, 0, 1), select=Select(device="vfio1")),
        "reorder every packet of vfio1: 2 0 1",
    ),
    (
        plan.Reorder(order=Order.ONE_CHANNEL_DELAYED, channel=3),
        "reorder every packet: one_channel_delayed (3)",
    ),
    (
        plan.Reorder(order=tuple(range(40))),
        "reorder every packet: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 ...",
    ),
    (plan.MoveToChannel(channel=0), "move every packet to channel 0"),
    (
        plan.MoveToChannel(select=Select(config=False)),
        "move every data packet to each channel in turn",
    ),
    (plan.Duplicate(select=Select(idx=(3,))), "duplicate packet 3 at once"),
    (
        plan.Duplicate(until=Until(loaded=True), channel=2, copies=3),
        "duplicate every packet 3 times on channel 2 after a wait until it is loaded",
    ),
    (plan.Drop(select=Select(config=True)), "drop the configuration packet"),
    (
        plan.Hold(select=Select(idx=(0, 4), channel=1), until=Until(others=True)),
        "hold packets 0, 4 on channel 1 until all others are delivered",
    ),
    (plan.Hold(until=Until(told="queued", value=7)), "hold every packet until queued 7"),
    (plan.Hold(until=Until(told="paused")), "hold every packet until paused"),
    (plan.Hold(until=Until(packets=1)), "hold every packet until 1 more packet"),
    (plan.Delay(delay_s=0.25), "delay every packet by 0.25 s"),
    (plan.Pace(bytes_per_s=1e6), "pace every packet to 1e+06 bytes/s"),
    (
        plan.Rewrite(fields=Fields(magic=7, idx=9, idstr="nobody")),
        "rewrite every packet: magic = 0x7, idstr = 'nobody', idx = 9",
    ),
    (plan.Rewrite(fields=Fields(idstr="x" * 256)), "rewrite every packet: idstr = 256 characters"),
    (plan.Flip(offset=-1, mask=1), "flip byte -1 of every packet by 0x01"),
    (plan.Flip(length=4), "flip byte 0 and 3 more of every packet by 0xff"),
    (plan.Truncate(size=5), "truncate every packet to 5 bytes"),
    (
        plan.Truncate(size=500, is_stale=True),
        "truncate every packet to 500 bytes, stated length unchanged",
    ),
    (plan.Extend(size=7), "extend every packet by 7 bytes"),
    (plan.CutStream(size=100), "cut the stream 100 bytes into every packet"),
    (plan.CutStream(size=0, is_abrupt=True), "cut the stream abruptly 0 bytes into every packet"),
    (plan.Rechunk(size=4096), "rechunk every packet to 4096 bytes"),
    (
        plan.Inject(fields=Fields(idx=100), copies=5, idx_step=1, size=64, is_before=True),
        "inject 5 packets before every packet: idx = 100, idx rising by 1, 64 bytes of data",
    ),
    (
        plan.Inject(payload=b"\x00\xff", channel=1),
        "inject a packet behind every packet: a payload of 2 bytes, on channel 1",
    ),
    (plan.Inject(data=b""), "inject a packet behind every packet: 0 bytes of data"),
    (plan.CloseChannel(), "close its channel behind every packet"),
    (
        plan.CloseChannel(which=Which.ALL, nth=4, is_before=True, is_abrupt=True),
        "close all channels abruptly before every packet (number 4 of them)",
    ),
    (
        plan.StallMain(until=Until(delay_s=2), since="opened"),
        "stall the main channel from opened on for 2 s",
    ),
    (
        plan.Hello(select=Select(channel=1), channel_id=2, magic=16),
        "rewrite the hello of channel 1: magic = 0x10, channel_id = 2",
    ),
    (
        plan.Hello(uuid=UUID(int=7), version=2),
        "rewrite the hello of every channel: version = 2, "
        "uuid = '00000000-0000-0000-0000-000000000007'",
    ),
    (plan.HoldConnections(until=Until(told="go")), "hold the connections of the source until go"),
    (
        plan.HoldConnections(until=Until(delay_s=2), accepted=1),
        "hold the connections beyond the first 1 for 2 s",
    ),
    (plan.RefuseConnection(), "accept connection 1 of the source and reset it at once"),
    (
        plan.RefuseConnection(accepted=1, how=plan.Refusal.CLOSED),
        "accept connection 2 of the source and close it at once",
    ),
    (
        plan.RefuseConnection(accepted=2, how=plan.Refusal.NOT_LISTENING),
        "stop listening before connection 3 of the source",
    ),
]


@pytest.mark.parametrize(("fault", "line"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_fault_round_trips_and_describes_itself_in_a_line(fault: plan.Fault, line: str) -> None:
    assert msgspec.json.decode(msgspec.json.encode(fault), type=plan.Fault) == fault
    assert fault.describe() == line


def test_a_plan_round_trips() -> None:
    made = tuple(fault for fault, _ in EXAMPLES)
    assert msgspec.json.decode(msgspec.json.encode(made), type=plan.FaultPlan) == made


def test_a_plan_is_one_line() -> None:
    made = (plan.Reorder(order=Order.REVERSED), plan.Drop(select=Select(device="vfio1")))
    assert plan.describe(made) == (
        "reorder every packet: reversed; then drop every packet of vfio1"
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
def test_until_is_one_moment(wrong: dict[str, Any]) -> None:
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
        (plan.RefuseConnection, {"select": Select(channel=0)}),
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
        (lambda: Until(told="config_loaded"), "without notifying the device"),
        (
            lambda: plan.Hold(select=Select(config=True), until=Until(loaded=True)),
            "when a configuration is loaded cannot be seen",
        ),
        (
            lambda: plan.Duplicate(select=Select(config=True), until=Until(loaded=True)),
            "when a configuration is loaded cannot be seen",
        ),
        (lambda: plan.StallMain(until=Until(loaded=True)), "which is about one packet"),
    ],
)
def test_moment_that_cannot_be_seen_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_data_packets_can_wait_for_their_load():
    assert plan.Duplicate(select=Select(config=False), until=Until(loaded=True))
