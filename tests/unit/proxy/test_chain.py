"""Faults one behind the other."""

import random
import typing
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.proxy.chain import Chain, Fired, build, handler_of
from harness.proxy.events import (
    After,
    Arrived,
    Close,
    Command,
    Deliver,
    Due,
    End,
    Ended,
    Greet,
    Greeted,
    Note,
    Notified,
    Opened,
    Waiting,
)
from harness.proxy.faults.base import Fault
from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Order, Select, Until
from harness.wire.packets import MultiFDInit
from tests.unit.proxy.playbook import Playbook, arrived, config, deliver, packet

FIRST = Select(idx=(0,))


def _book(*faults: plan.Fault) -> Playbook:
    return Playbook(build(faults, 0))


def test_empty_chain_delivers_and_ends() -> None:
    chain = Chain()
    assert chain.is_empty
    book = Playbook(chain)
    book >> Opened(0) >> arrived(0, 2) << deliver(0, 2) >> Ended(2) << End(2) >> Notified("x")
    book.ends()


def test_what_one_delivers_the_next_sees_arrive() -> None:
    book = _book(plan.Duplicate(select=FIRST), plan.MoveToChannel(channel=3))
    book >> arrived(0) << deliver(0, 3) << deliver(0, 3) >> arrived(1, 3) << deliver(1, 3)
    assert book.handler.fired == [
        Fired("duplicate packet 0 at once", 1),
        Fired("move every packet to channel 3", 2),
    ]


def test_order_counts_what_arrived_at_that_fault() -> None:
    seen = []

    class Counting(Fault):
        def arrived(self, event: Arrived):
            seen.append(event.order)
            yield Deliver(event.channel, event.packet)

    counting = Counting(plan.Drop(), random.Random(0))
    dropping, doubling = (
        build([spec], 0)._faults[0] for spec in (plan.Drop(select=FIRST), plan.Duplicate())
    )
    chain = Chain([dropping, doubling, counting])
    for number, idx in enumerate((0, 1, 2)):
        list(chain.handle(Arrived(0, packet(idx), number + 10)))
    assert seen == [0, 1, 2, 3]


def test_a_delay_comes_back_to_the_fault_that_asked_for_it() -> None:
    book = _book(
        plan.Delay(select=FIRST, delay_s=1), plan.Delay(select=Select(idx=(1,)), delay_s=2)
    )
    book >> arrived(0) << After(1, 0) >> arrived(1) << After(2, 1)
    book >> Due(1) << deliver(1) >> Due(0) << deliver(0)
    book.ends()


def test_an_end_waits_while_anything_is_held() -> None:
    book = _book(plan.Hold(select=FIRST, until=Until(told="go")), plan.Delay(delay_s=1))
    book >> Opened(0) >> Opened(1) >> arrived(0, 0) >> arrived(1, 1) << After(1, 0)
    book >> Ended(1) >> Due(0) << deliver(1, 1) >> Ended(0) >> Notified("go") << After(1, 1)
    assert book.handler.is_holding
    book >> Due(1) << deliver(0, 0) << End(1) << End(0)
    assert not book.handler.is_holding
    book.ends()


def test_other_commands_pass_the_faults_behind() -> None:
    book = _book(plan.CloseChannel(select=FIRST), plan.Drop())
    book >> arrived(0, 2) << Close(2)
    book.ends()


def test_notes_name_the_fault() -> None:
    chain = build([plan.MoveToChannel(channel=1), plan.Drop()], 0)
    notes = [command for command in chain.handle(arrived(0)) if isinstance(command, Note)]
    assert [(note.position, chain.name_of(note.position)) for note in notes] == [
        (0, "move_to_channel"),
        (1, "drop"),
    ]


def test_a_full_fault_fills_the_chain() -> None:
    chain = build([plan.Drop(select=FIRST), plan.Pace(bytes_per_s=1)], 0)
    assert not chain.is_full
    list(chain.handle(arrived(packet(1, bytes(17 << 20)))))
    assert chain.is_full


harmless = st.one_of(
    st.builds(plan.Reorder, order=st.sampled_from(Order), channel=st.integers(0, 3)),
    st.builds(plan.Reorder, order=st.permutations(range(6)).map(tuple)),
    st.builds(plan.MoveToChannel, channel=st.none() | st.integers(0, 3)),
    st.builds(plan.Pace, bytes_per_s=st.floats(1, 1e9)),
    st.builds(plan.Delay, delay_s=st.floats(0, 10)),
    st.builds(plan.Hold, select=st.builds(Select, channel=st.none() | st.integers(0, 3)),
              until=st.sampled_from([Until(others=True), Until(delay_s=1)])),
)  # fmt: skip


@given(
    faults=st.lists(harmless, max_size=4),
    arrivals=st.permutations([(slot, idx) for slot in (2, 3) for idx in range(6)]),
    rng=st.randoms(use_true_random=False),
)
def test_chains_that_only_move_keep_every_packet(
    faults: list[plan.Fault], arrivals: list[tuple[int, int]], rng: random.Random
) -> None:
    chain = build(faults, 1)
    delivered: list[Deliver] = []
    ends: list[int] = []
    timers: list[int] = []

    def do(commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Deliver():
                    assert not ends, "delivered after its channel's end"
                    delivered.append(command)
                case After(token=token):
                    timers.append(token)
                case End(channel):
                    ends.append(channel)

    for channel in range(4):
        do(list(chain.handle(Opened(channel))))
    sent = []
    for order, (slot, idx) in enumerate(arrivals):
        made = config(idx, slot=slot) if idx == 5 else packet(idx, slot=slot)
        sent.append(made)
        do(list(chain.handle(Arrived(rng.randrange(4), made, order))))
        while timers and rng.random() < 0.5:
            do(list(chain.handle(Due(timers.pop(rng.randrange(len(timers)))))))
    for channel in range(4):
        do(list(chain.handle(Ended(channel))))
    while timers:
        do(list(chain.handle(Due(timers.pop(rng.randrange(len(timers)))))))
    assert Counter(command.packet for command in delivered) == Counter(sent)
    assert sorted(ends) == [0, 1, 2, 3]
    assert not chain.is_holding


def test_hello_goes_through_all_faults() -> None:
    book = _book(plan.Hello(version=7), plan.Drop(), plan.Hello(magic=5))
    book >> Greeted(1, MultiFDInit(1)) << Greet(1, MultiFDInit(1, version=7, magic=5))
    book.ends()


def test_connections_are_held_as_long_as_any_fault_holds_them() -> None:
    book = _book(
        plan.Drop(),
        plan.HoldConnections(accepted=2, until=Until(told="a")),
        plan.HoldConnections(accepted=1, until=Until(told="b")),
    )
    chain = book.handler
    assert chain.lets_in == 1
    book >> Waiting(1) >> Notified("b")
    assert chain.lets_in == 2
    book >> Waiting(2) >> Notified("a")
    assert chain.lets_in is None
    assert [fired.times for fired in chain.fired] == [0, 1, 1]


@pytest.mark.parametrize("spec", typing.get_args(plan.Fault), ids=lambda spec: spec.__name__)
def test_each_fault_of_a_plan_has_a_file_of_its_name(spec: Any) -> None:
    handler = handler_of(spec)
    assert issubclass(handler, Fault)
    assert handler.__module__ == f"harness.proxy.faults.{spec.__struct_config__.tag}"


def _shuffled(seed: int, position: int = 0) -> list[int | None]:
    faults = [plan.Drop(select=Select(idx=(99,)))] * position + [plan.Reorder(order=Order.SHUFFLED)]
    chain = build(faults, seed)
    commands = [
        command
        for order in range(30)
        for command in chain.handle(arrived(config(29) if order == 29 else packet(order)))
    ]
    return [command.packet.idx for command in commands if isinstance(command, Deliver)]


def test_the_seed_decides() -> None:
    assert _shuffled(1) == _shuffled(1)
    assert _shuffled(1) != _shuffled(2)
    assert _shuffled(1) != _shuffled(1, position=1), "each fault has a generator of its own"


IDSTRS = {"vfio0": "0000:00:02.0/vfio", "vfio1": "0000:00:03.0/vfio"}


@pytest.mark.parametrize("name", ["vfio1", "0000:00:03.0/vfio"])
def test_devices_are_named_by_id_or_idstr(name: str) -> None:
    chain = build([plan.Drop(select=Select(device=name))], 0, IDSTRS)
    for event in (arrived(0), arrived(packet(0, slot=3))):
        list(chain.handle(event))
    assert [fired.times for fired in chain.fired] == [1]


@pytest.mark.parametrize("idstrs", [IDSTRS, None])
def test_device_that_there_is_not_is_refused(idstrs: dict[str, str] | None) -> None:
    with pytest.raises(UsageError, match="drop every packet of vfio9: no device vfio9"):
        build([plan.Drop(select=Select(device="vfio9"))], 0, idstrs)
