"""Named orders and given ones: nothing is lost, and nothing comes before it may."""

import random
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from harness.proxy.events import Ended
from harness.proxy.faults.reorder import Reorder
from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Order, Select
from tests.unit.proxy.playbook import Playbook, arrived, config, deliver, packet


def test_reversed_holds_all_and_then_goes_backwards(play) -> None:
    book = play(plan.Reorder(order=Order.REVERSED))
    book >> arrived(0) >> arrived(2, 1) >> arrived(config(3))
    assert book.handler.is_holding
    book >> arrived(1, 2) << deliver(config(3)) << deliver(2, 1) << deliver(1, 2) << deliver(0)
    assert not book.handler.is_holding
    assert book.handler.fired == 3, "packet 2 stays in its place"
    assert book.notes[-1] == "arrived as number 0, delivered as number 3"


def test_configuration_first_leaves_the_rest_as_it_came(play) -> None:
    book = play(plan.Reorder(order=Order.CONFIG_FIRST))
    book >> arrived(1) >> arrived(0) >> arrived(config(2))
    book << deliver(config(2)) << deliver(1) << deliver(0)


def test_index_0_last_holds_that_one_alone(play) -> None:
    book = play(plan.Reorder(order=Order.INDEX_0_LAST))
    book >> arrived(0) >> arrived(1) << deliver(1) >> arrived(config(2))
    book << deliver(config(2)) << deliver(0)


def test_one_channel_delayed(play) -> None:
    book = play(plan.Reorder(order=Order.ONE_CHANNEL_DELAYED, channel=2))
    book >> arrived(0, 2) >> arrived(1, 0) << deliver(1, 0) >> arrived(2, 2)
    book >> arrived(config(3), 1) << deliver(config(3), 1) << deliver(0, 2) << deliver(2, 2)


def test_given_permutation_and_what_it_leaves_out(play) -> None:
    book = play(plan.Reorder(order=(2, 0)))
    book >> arrived(0) >> arrived(1) >> arrived(2) >> arrived(config(3))
    book << deliver(2) << deliver(0) << deliver(1) << deliver(config(3))


def test_order_that_comes_by_itself_is_not_fired(play) -> None:
    book = play(plan.Reorder(order=Order.INDEX_0_LAST))
    book >> arrived(config(1)) << deliver(config(1)) >> arrived(0) << deliver(0)
    assert book.handler.fired == 0


def test_devices_are_ordered_each_for_itself(play) -> None:
    book = play(plan.Reorder(order=Order.REVERSED))
    other = packet(0, slot=3)
    book >> arrived(0) >> arrived(other) >> arrived(config(1)) << deliver(config(1)) << deliver(0)
    assert book.handler.is_holding
    book >> arrived(config(1, slot=3)) << deliver(config(1, slot=3)) << deliver(other)


def test_only_what_is_selected_is_held(play) -> None:
    device = Select(device="0000:00:03.0/vfio")
    book = play(plan.Reorder(order=Order.REVERSED, select=device))
    book >> arrived(0) << deliver(0) >> arrived(config(1)) << deliver(config(1))


def test_state_that_never_becomes_complete_goes_as_it_came(play) -> None:
    book = play(plan.Reorder(order=Order.REVERSED), channels=2)
    book >> arrived(0) >> arrived(1, 1) >> Ended(0) >> Ended(1) << deliver(0) << deliver(1, 1)
    assert not book.handler.is_holding
    assert book.handler.fired == 0


def test_shuffle_is_the_seed_s_own_however_the_channels_raced() -> None:
    def shuffled(arrivals: tuple[int, ...]) -> tuple[int, ...]:
        book = Playbook(Reorder(plan.Reorder(order=Order.SHUFFLED), random.Random(4)))
        for idx in arrivals:
            book.ends()
            book >> arrived(packet(idx) if idx < 3 else config(3))
        return tuple(command.packet.idx for command in book.taken())

    assert len({shuffled(arrivals) for arrivals in permutations(range(4))}) == 1


@given(
    order=st.one_of(st.sampled_from(Order), st.permutations(range(5)).map(tuple)),
    arrivals=st.permutations(range(5)),
    seed=st.integers(),
)
def test_whatever_the_order_each_packet_goes_once(
    order: Order | tuple[int, ...], arrivals: list[int], seed: int
) -> None:
    fault = Reorder(plan.Reorder(order=order), random.Random(seed))
    book = Playbook(fault)
    delivered = []
    for idx in arrivals:
        made = config(4) if idx == 4 else packet(idx)
        book >> arrived(made, idx % 2)
        delivered += book.taken()
    assert sorted(command.packet.idx for command in delivered) == list(range(5))
    assert all(command.channel == command.packet.idx % 2 for command in delivered)
    if isinstance(order, tuple):
        assert tuple(command.packet.idx for command in delivered) == order
    came = list(arrivals)
    assert bool(fault.fired) == ([command.packet.idx for command in delivered] != came)
