"""Commands of the chain, carried out on connections, and what is recorded of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
import xxhash

from harness.errors import UsageError
from harness.history import Body, wire
from harness.proxy.chain import build
from harness.proxy.connection import Connection
from harness.proxy.events import MAIN, Arrived, Due, Greeted, Notified
from harness.proxy.executor import Executor
from harness.proxy.pipe import Pipe
from harness.proxy.recorder import Recorder, Seen
from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Fields, Select, Until
from harness.wire.packets import DeviceStatePacket, MultiFDInit
from tests.unit.proxy.playbook import config, packet
from tests.unit.proxy.streams import TIMEOUT_S, hello, new_address, pair, receive, receive_all


class Stage:
    """An executor with a main channel and two multifd channels, whose far ends we have."""

    def __init__(self, faults: Sequence[plan.Fault]) -> None:
        self.seen: list[Seen] = []
        self.delays: list[tuple[float, int]] = []
        self.on_record: Callable[[Seen], None] = lambda _seen: None
        recorder = Recorder(self._record)
        self.executor = Executor(
            build(faults, 0), recorder, lambda s, t: self.delays.append((s, t))
        )
        self.pipe = Pipe()
        self.sources, self.destinations, self.connections = {}, {}, {}
        address = new_address()
        with address.listen() as listener:
            for number, channel in enumerate((MAIN, 0, 1)):
                ours, self.sources[channel] = pair()
                connection = Connection(number, ours, address, self.pipe, recorder, lambda _: None)
                self.destinations[channel], _ = listener.accept()
                self.destinations[channel].settimeout(TIMEOUT_S)
                self.connections[channel] = connection
                connection.channel = channel
                self.executor.opened(connection)

    def _record(self, seen: Seen) -> None:
        self.seen.append(seen)
        self.on_record(seen)

    def arrive(self, channel: int, packet: DeviceStatePacket) -> None:
        self.executor.feed(Arrived(channel, packet))

    def of(self, kind: type[Body]) -> list[Seen]:
        return [seen for seen in self.seen if isinstance(seen.body, kind)]

    def close(self) -> None:
        for connection in self.connections.values():
            connection.dispose()
        for sock in (*self.sources.values(), *self.destinations.values()):
            sock.close()
        self.pipe.close()


@pytest.fixture
def new_stage() -> Iterator[object]:
    made = []

    def make(*faults: plan.Fault) -> Stage:
        made.append(Stage(faults))
        return made[-1]

    yield make
    for stage in made:
        stage.close()


def test_packet_is_delivered_where_the_fault_says_and_recorded(new_stage) -> None:
    stage = new_stage(plan.MoveToChannel(channel=1))
    stage.arrive(0, config(4))
    data = config(4).pack()
    assert receive(stage.destinations[1], len(data)) == data
    kinds = [type(seen.body) for seen in stage.seen[len(stage.connections) :]]
    assert kinds == [wire.Fault, wire.PacketOut]
    (went,) = stage.of(wire.PacketOut)
    assert (went.channel, went.device) == (1, "0000:00:02.0/vfio")
    assert went.body.digest == xxhash.xxh3_128_hexdigest(b"config")
    assert stage.of(wire.Fault)[0].body == wire.Fault(
        fault="move_to_channel", position=0, what="moved to channel 1", idx=4
    )


def test_packet_that_was_changed_is_recorded_as_it_went(new_stage) -> None:
    stage = new_stage(plan.Rewrite(fields=Fields(state_version=9)))
    stage.arrive(0, packet(0))
    assert stage.of(wire.PacketOut)[0].body.state_version == 9
    made = replace(packet(0), state_version=9).pack()
    assert receive(stage.destinations[0], len(made)) == made


def test_packet_that_is_partly_out_when_the_channel_closes_is_lost(new_stage) -> None:
    stage = new_stage(plan.Delay(delay_s=9, select=Select(config=True)))  # fires on no data
    stage.arrive(0, packet(0, bytes(8 << 20)))
    assert not stage.of(wire.PacketOut) + stage.of(wire.PacketLost)
    stage.connections[0].close(is_reset=False)
    assert [seen.body.idx for seen in stage.of(wire.PacketLost)] == [0]
    assert not stage.of(wire.PacketOut)


def test_packet_for_a_closed_channel_is_lost_and_that_is_recorded(new_stage) -> None:
    stage = new_stage(plan.CloseChannel(is_before=True))
    stage.arrive(0, packet(0))
    assert [seen.body.idx for seen in stage.of(wire.PacketLost)] == [0]
    assert not stage.of(wire.PacketOut)


def test_bytes_that_are_no_packet_are_recorded(new_stage) -> None:
    stage = new_stage(plan.CutStream(size=20))
    stage.arrive(0, packet(0))
    assert receive_all(stage.destinations[0]) == packet(0).pack()[:20]
    assert stage.of(wire.RawOut)[0].body == wire.RawOut(20)


def test_end_waits_for_what_is_held(new_stage) -> None:
    stage = new_stage(plan.Hold(until=Until(told="go")))
    stage.arrive(0, packet(0))
    stage.executor.source_ended(stage.connections[0])
    assert not stage.connections[0].to_destination.is_ending
    stage.executor.feed(Notified("go"))
    assert receive_all(stage.destinations[0]) == packet(0).pack()


def test_end_of_a_channel_that_the_chain_does_not_know_goes_straight_on(new_stage) -> None:
    stage = new_stage(plan.Hold(until=Until(told="go")))
    stage.connections[1].channel = 77  # it has ended before its hello was complete
    stage.executor.source_ended(stage.connections[1])
    assert receive_all(stage.destinations[1]) == b""


def test_delays_are_asked_for_and_come_back(new_stage) -> None:
    stage = new_stage(plan.Delay(delay_s=0.5))
    stage.arrive(0, packet(0))
    ((delay_s, token),) = stage.delays
    assert delay_s == 0.5
    assert not stage.of(wire.PacketOut)
    stage.executor.feed(Due(token))
    assert stage.of(wire.PacketOut)


def test_main_channel_is_stalled_and_goes_on(new_stage) -> None:
    stage = new_stage(plan.StallMain(until=Until(told="go")))
    main = stage.connections[MAIN].from_source
    was_paused = []
    stage.on_record = lambda seen: was_paused.append((type(seen.body), main.is_paused))
    stage.arrive(0, packet(0))
    assert main.is_paused
    stage.executor.feed(Notified("go"))
    assert not main.is_paused
    stalls = [entry for entry in was_paused if entry[0] in (wire.MainStalled, wire.MainResumed)]
    assert stalls == [(wire.MainStalled, True), (wire.MainResumed, True)]


def test_channel_that_never_was_is_the_plan_s_mistake(new_stage) -> None:
    stage = new_stage(plan.MoveToChannel(channel=9))
    with pytest.raises(UsageError, match="channel 9, there is -1, 0, 1"):
        stage.arrive(0, packet(0))


def test_what_happens_while_commands_are_carried_out_waits(new_stage) -> None:
    stage = new_stage(plan.Duplicate(select=Select(idx=(0,))), plan.MoveToChannel(channel=1))

    def meanwhile(_seen: Seen) -> None:
        stage.on_record = lambda _seen: None
        stage.executor.feed(Notified("meanwhile"))
        stage.arrive(1, packet(1))

    stage.on_record = meanwhile
    stage.arrive(0, packet(0))
    assert [seen.body.idx for seen in stage.of(wire.PacketOut)] == [0, 0, 1]


def test_opening_and_ending_are_recorded(new_stage) -> None:
    stage = new_stage()
    assert [seen.body for seen in stage.of(wire.ChannelOpened)] == [
        wire.ChannelOpened(connection=0, kind="main"),
        wire.ChannelOpened(connection=1, kind="multifd"),
        wire.ChannelOpened(connection=2, kind="multifd"),
    ]
    stage.executor.source_ended(stage.connections[1])
    assert receive_all(stage.destinations[1]) == b""


@pytest.mark.parametrize("channel", [0, 1])
def test_hello_that_a_fault_changes_is_recorded_under_the_source_s_number(
    new_stage, channel: int
) -> None:
    stage = new_stage(plan.Hello(select=Select(channel=1), channel_id=200))
    came = MultiFDInit(channel, b"U" * 16)
    stage.connections[channel].show(came)
    stage.executor.feed(Greeted(channel, came))
    went = {0: hello(0), 1: hello(200)}[channel]
    assert receive(stage.destinations[channel], len(went)) == went
    assert stage.connections[channel].channel == channel
    seen = [(seen.channel, seen.body.channel_id) for seen in stage.of(wire.HelloOut)]
    assert seen == [(1, 200)] * channel
    assert [seen.body.fault for seen in stage.of(wire.Fault)] == ["hello"] * channel
