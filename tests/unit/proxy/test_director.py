"""Commands carried out on connections, and what is told of it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import xxhash

from harness.errors import UsageError, WireError
from harness.proxy.build import build
from harness.proxy.connection import Connection
from harness.proxy.director import Director, Passage
from harness.proxy.events import MAIN, Due, Told
from harness.proxy.observer import Seen
from harness.proxy.pipe import Pipe
from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Fields, Select, Until
from harness.wire.framing import StateHead
from harness.wire.main_channel import Command, CommandNumber, Section, SectionKind, StateEnd
from harness.wire.packets import MultiFDInit
from tests.unit.proxy.playbook import config, packet
from tests.unit.proxy.streams import TIMEOUT_S, new_address, pair, receive, receive_all


class Stage:
    """A director with a main channel and two multifd channels, whose far ends we have."""

    def __init__(self, faults: Sequence[plan.Fault], *, keeps_payload: bool) -> None:
        self.seen: list[Seen] = []
        self.delays: list[tuple[float, int]] = []
        self.director = Director(
            build(faults, 0), self.seen.append, lambda s, t: self.delays.append((s, t)),
            keeps_payload,
        )  # fmt: skip
        self.pipe = Pipe()
        self.sources, self.destinations, self.connections = {}, {}, {}
        address = new_address()
        with address.listen() as listener:
            for number, channel in enumerate((MAIN, 0, 1)):
                ours, self.sources[channel] = pair()
                connection = Connection(number, ours, address, self.pipe, lambda _: None)
                self.destinations[channel], _ = listener.accept()
                self.destinations[channel].settimeout(TIMEOUT_S)
                self.connections[channel] = connection
                connection.channel = channel
                self.director.opened(connection, "main" if channel == MAIN else "multifd")

    def passage(self, channel: int) -> Passage:
        return Passage(self.director, self.connections[channel])

    def told(self, name: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.name == name]

    def close(self) -> None:
        for connection in self.connections.values():
            connection.dispose()
        for sock in (*self.sources.values(), *self.destinations.values()):
            sock.close()
        self.pipe.close()


@pytest.fixture
def new_stage() -> Iterator[object]:
    made = []

    def make(*faults: plan.Fault, keeps_payload: bool = False) -> Stage:
        made.append(Stage(faults, keeps_payload=keeps_payload))
        return made[-1]

    yield make
    for stage in made:
        stage.close()


def test_packets_are_taken_whole_where_a_fault_or_a_payload_is_wanted(new_stage) -> None:
    assert not new_stage().director.is_whole
    assert new_stage(plan.Drop()).director.is_whole
    assert new_stage(keeps_payload=True).director.is_whole


def test_packet_is_delivered_and_told_on_the_way_in_and_out(new_stage) -> None:
    stage = new_stage(plan.MoveToChannel(channel=1))
    stage.passage(0).packet_arrived(config(4))
    data = config(4).pack()
    assert receive(stage.destinations[1], len(data)) == data
    names = [seen.name for seen in stage.seen if not seen.name.startswith("channel")]
    assert names == ["packet_in", "fault", "packet_out"]
    (came,), (went,) = stage.told("packet_in"), stage.told("packet_out")
    assert (came.channel, went.channel) == (0, 1)
    assert came.device == went.device == "0000:00:02.0/vfio"
    assert came.args == went.args
    assert came.args["digest"] == xxhash.xxh3_128_hexdigest(b"config")
    assert came.payload is None
    assert 0 < came.t_ns <= went.t_ns
    assert stage.told("fault")[0].args == {
        "fault": "move_to_channel", "position": 0, "what": "moved to channel 1", "idx": 4,
    }  # fmt: skip


def test_packet_that_was_changed_is_told_as_it_went(new_stage) -> None:
    stage = new_stage(plan.Rewrite(fields=Fields(state_version=9)))
    stage.passage(0).packet_arrived(packet(0))
    assert stage.told("packet_out")[0].args["state_version"] == 9
    made = replace(packet(0), state_version=9).pack()
    assert receive(stage.destinations[0], len(made)) == made


def test_payload_is_kept_on_request(new_stage) -> None:
    stage = new_stage(keeps_payload=True)
    stage.passage(0).packet_arrived(packet(0, b"payload"))
    assert [seen.payload for seen in stage.told("packet_in")] == [b"payload"]


def test_packet_that_was_cut_through_is_told_twice(new_stage) -> None:
    stage = new_stage()
    data = packet(3, b"12345").pack()
    stage.passage(1).packet_passed(StateHead(data[:276], data[276:288], 5), "digest", 77)
    (came,), (went,) = stage.told("packet_in"), stage.told("packet_out")
    assert came.t_ns == 77
    assert went.t_ns > 77
    expected = {"idx": 3, "state_flags": 0, "instance_id": 0, "size": 5, "digest": "digest"}
    assert came.args == went.args == expected


def test_packet_that_is_partly_out_when_the_channel_closes_is_lost(new_stage) -> None:
    stage = new_stage(plan.Delay(delay_s=9, select=Select(config=True)))  # fires on no data
    stage.passage(0).packet_arrived(packet(0, bytes(8 << 20)))
    assert not stage.told("packet_out") + stage.told("packet_lost")
    stage.connections[0].close(is_reset=False)
    assert [seen.args["idx"] for seen in stage.told("packet_lost")] == [0]
    assert not stage.told("packet_out")


def test_packet_for_a_closed_channel_is_lost_and_that_is_told(new_stage) -> None:
    stage = new_stage(plan.CloseChannel(is_before=True))
    stage.passage(0).packet_arrived(packet(0))
    assert [seen.args["idx"] for seen in stage.told("packet_lost")] == [0]
    assert not stage.told("packet_out")


def test_bytes_that_are_no_packet_are_told(new_stage) -> None:
    stage = new_stage(plan.CutStream(size=20))
    stage.passage(0).packet_arrived(packet(0))
    assert receive_all(stage.destinations[0]) == packet(0).pack()[:20]
    assert stage.told("raw_out")[0].args == {"size": 20}


def test_end_waits_for_what_is_held(new_stage) -> None:
    stage = new_stage(plan.Hold(until=Until(told="go")))
    stage.passage(0).packet_arrived(packet(0))
    stage.director.source_ended(stage.connections[0])
    assert not stage.connections[0].to_destination.is_ending
    stage.director.feed(Told("go"))
    assert receive_all(stage.destinations[0]) == packet(0).pack()


def test_delays_are_asked_for_and_come_back(new_stage) -> None:
    stage = new_stage(plan.Delay(delay_s=0.5))
    stage.passage(0).packet_arrived(packet(0))
    ((delay_s, token),) = stage.delays
    assert delay_s == 0.5
    assert not stage.told("packet_out")
    stage.director.feed(Due(token))
    assert stage.told("packet_out")


def test_main_channel_is_stalled_and_goes_on(new_stage) -> None:
    stage = new_stage(plan.StallMain(until=Until(told="go")))
    stage.passage(0).packet_arrived(packet(0))
    assert stage.connections[MAIN].forward.is_paused
    stage.director.feed(Told("go"))
    assert not stage.connections[MAIN].forward.is_paused
    assert [len(stage.told(f"main_{what}")) for what in ("stalled", "resumed")] == [1, 1]


def test_channel_that_never_was_is_the_plan_s_mistake(new_stage) -> None:
    stage = new_stage(plan.MoveToChannel(channel=9))
    with pytest.raises(UsageError, match="channel 9, there is -1, 0, 1"):
        stage.passage(0).packet_arrived(packet(0))


def test_what_happens_while_commands_are_carried_out_is_told_afterwards(new_stage) -> None:
    stage = new_stage(plan.Duplicate(select=Select(idx=(0,))), plan.MoveToChannel(channel=1))
    order = []
    record = stage.director._record

    def recording(seen: Seen) -> None:
        record(seen)
        order.append((seen.name, seen.args.get("idx")))
        if len(order) == 2:
            stage.director.feed(Told("meanwhile"))
            stage.passage(1).packet_arrived(packet(1))

    stage.director._record = recording
    stage.passage(0).packet_arrived(packet(0))
    out = [idx for name, idx in order if name == "packet_out"]
    assert out == [0, 0, 1]


def test_opening_ending_and_damage_are_told(new_stage) -> None:
    stage = new_stage()
    assert [seen.args for seen in stage.told("channel_opened")] == [
        {"connection": 0, "kind": "main"},
        {"connection": 1, "kind": "multifd"},
        {"connection": 2, "kind": "multifd"},
    ]
    stage.passage(1).damaged(WireError("byte 7: nonsense"))
    assert stage.told("damaged")[0].args == {"what": "byte 7: nonsense"}
    stage.director.source_ended(stage.connections[1])
    assert receive_all(stage.destinations[1]) == b""


def test_hello_that_a_fault_changes_is_told_and_known_by_the_source_s_number(new_stage) -> None:
    stage = new_stage(plan.Hello(select=Select(channel=1), channel_id=200))
    told = [stage.passage(channel).hello(MultiFDInit(channel)) for channel in (0, 1)]
    assert told == [MultiFDInit(0).pack(), MultiFDInit(200).pack()]
    (seen,) = stage.told("hello_out")
    assert (seen.channel, seen.args["channel_id"]) == (1, 200)
    assert stage.connections[1].channel == 1
    assert [(seen.args["fault"], seen.channel) for seen in stage.told("fault")] == [("hello", 1)]


SECTION = Section(SectionKind.FULL, 7, "0000:00:02.0/vfio", 0, 1, 100, 30, 60)


def test_sections_of_devices_are_told(new_stage) -> None:
    stage = new_stage()
    passage = stage.passage(MAIN)
    for event in (
        replace(SECTION, kind=SectionKind.START),
        replace(SECTION, kind=SectionKind.PART),
        replace(SECTION, kind=SectionKind.END),
        replace(SECTION, idstr="ram"),
        SECTION,
        StateEnd(500),
    ):
        passage.main_event(event)
    told = [(seen.channel, seen.device, seen.args) for seen in stage.told("main_section")]
    assert told == [
        (MAIN, SECTION.idstr, {"kind": kind, "idstr": SECTION.idstr, "size": 30})
        for kind in ("start", "full")
    ]
    assert [seen.args for seen in stage.told("main_end")] == [{"offset": 500}]


def test_switchover_is_told_to_history_and_faults(new_stage) -> None:
    stage = new_stage(
        plan.Hold(select=Select(idx=(0,)), until=Until(told="switchover")),
        plan.Hold(select=Select(idx=(1,)), until=Until(told="switchover_passed")),
    )
    for idx in (0, 1):
        stage.passage(0).packet_arrived(packet(idx))
    assert not stage.told("packet_out")
    passage = stage.passage(MAIN)
    passage.main_event(Command(CommandNumber.PING, 90, 4))
    assert not stage.told("packet_out")
    passage.main_event(Command(CommandNumber.SWITCHOVER_START, 100, 0))
    assert [seen.args["idx"] for seen in stage.told("packet_out")] == [0]
    passage.switchover_passed()
    assert [seen.args["idx"] for seen in stage.told("packet_out")] == [0, 1]
    assert [seen.args for seen in stage.told("switchover")] == [{"offset": 100}]
