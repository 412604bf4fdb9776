"""Other buffers, the same bytes."""

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from harness.proxy.events import Ended
from harness.proxy.faults.rechunk import Rechunk
from harness.scenario import fault_plan as plan
from tests.unit.proxy.playbook import Playbook, arrived, config, deliver, packet


def test_buffers_are_split_and_the_configuration_moves_along(play) -> None:
    book = play(plan.Rechunk(size=2))
    book >> arrived(packet(0, b"abcde")) << deliver(packet(0, b"ab")) << deliver(packet(1, b"cd"))
    book >> arrived(config(1), 1) << deliver(packet(2, b"e")) << deliver(config(3), 1)
    assert not book.handler.is_holding


def test_buffers_are_merged(play) -> None:
    book = play(plan.Rechunk(size=4))
    book >> arrived(packet(0, b"ab"), 1) >> arrived(packet(1, b"cde"), 2)
    book << deliver(packet(0, b"abcd"), 2)
    assert book.handler.is_holding
    book >> arrived(config(2)) << deliver(packet(1, b"e"), 2) << deliver(config(2))


def test_what_comes_early_waits(play) -> None:
    book = play(plan.Rechunk(size=1))
    book >> arrived(config(2)) >> arrived(packet(1, b"b")) >> arrived(packet(0, b"a"))
    book << deliver(packet(0, b"a")) << deliver(packet(1, b"b")) << deliver(config(2))
    assert book.handler.fired == 0, "the buffers had that size"


def test_state_without_data(play) -> None:
    book = play(plan.Rechunk(size=9))
    book >> arrived(config(0)) << deliver(config(0))


def test_what_another_fault_made_passes(play) -> None:
    book = play(plan.Rechunk(size=9))
    short = replace(packet(0), idx=None)
    book >> arrived(packet(1)) >> arrived(packet(1)) << deliver(1)
    book >> arrived(short) << deliver(short)


def test_what_is_there_goes_when_the_source_ends(play) -> None:
    book = play(plan.Rechunk(size=9), channels=1)
    book >> arrived(packet(0, b"ab")) >> arrived(2) >> Ended(0) << deliver(packet(0, b"ab"))
    book << deliver(2)
    assert not book.handler.is_holding


@given(
    buffers=st.lists(st.binary(max_size=9), max_size=8),
    size=st.integers(1, 20),
    seed=st.randoms(use_true_random=False),
)
def test_the_bytes_are_the_same_for_any_sizes(
    buffers: list[bytes], size: int, seed: random.Random
) -> None:
    book = Playbook(Rechunk(plan.Rechunk(size=size), seed))
    packets = [packet(idx, data) for idx, data in enumerate(buffers)] + [config(len(buffers))]
    seed.shuffle(packets)
    delivered = []
    for arriving in packets:
        book >> arrived(arriving, seed.randrange(4))
        delivered += [command.packet for command in book.taken()]
    *data, last = delivered
    assert b"".join(packet.data for packet in data) == b"".join(buffers)
    assert [packet.idx for packet in delivered] == list(range(len(delivered)))
    assert all(len(packet.data) == size for packet in data[:-1])
    assert last == config(len(data))
