"""The reference queue: what it allows, what it owes, and every way to break it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.model.reassembly import HIGHEST_IDX, DestinationQueue


def queue_of(*packets: int, config: int = -1, is_empty: bool | None = False) -> DestinationQueue:
    queue = DestinationQueue()
    for idx in packets:
        assert queue.arrive(idx, is_config=idx == config, is_empty=is_empty) == ""
    return queue


def load(queue: DestinationQueue, *packets: int) -> None:
    for idx in packets:
        assert queue.load_start(idx) == ""
        assert queue.load_end(idx) == ""


def test_a_right_run_has_nothing_to_say():
    queue = DestinationQueue()
    assert queue.starve(0) == ""
    assert queue.arrive(1, is_config=False, is_empty=False) == ""
    assert queue.starve(0) == ""
    assert queue.arrive(0, is_config=False, is_empty=False) == ""
    load(queue, 0, 1)
    assert queue.starve(2) == ""
    assert queue.arrive(2, is_config=True) == ""
    assert queue.config_start() == ""
    assert queue.config_end() == ""
    assert queue.missing() == ""
    assert queue.is_config_loaded


def test_configuration_alone_is_a_complete_state():
    queue = queue_of(0, config=0)
    assert queue.config_start() == ""
    assert queue.config_end() == ""
    assert queue.missing() == ""


@given(st.permutations(range(8)))
def test_any_order_of_arrival_is_loaded_in_index_order(order):
    """The load thread takes what is next as soon as it can; it never gets stuck."""
    queue, loaded = DestinationQueue(), []
    for idx in order:
        assert queue.arrive(idx, is_config=idx == 7, is_empty=False) == ""
        while queue.is_next_queued and queue.next_idx != queue.config_idx:
            assert not queue.may_starve
            loaded.append(queue.next_idx)
            load(queue, queue.next_idx)
    assert loaded == list(range(7))
    assert queue.config_start() == queue.config_end() == ""
    assert queue.missing() == ""


def test_next_that_is_missing_lets_it_starve():
    queue = queue_of(1, 2)
    assert queue.may_starve
    assert not queue.is_next_queued
    assert queue.missing() == "packet 0 never arrived"
    assert queue.queued == 2


def test_next_that_is_there_must_be_loaded():
    queue = queue_of(0)
    assert queue.is_next_queued
    assert not queue.may_starve
    assert "packet 0 arrived and was next, but it was never loaded" in queue.missing()


@pytest.mark.parametrize("idx", [1, 7])
def test_waiting_for_a_packet_that_is_not_next(idx):
    assert f"waits for packet {idx} while packet 0 is next" in DestinationQueue().starve(idx)


def test_waiting_in_the_middle_of_a_load():
    queue = queue_of(0)
    queue.load_start(0)
    assert "while packet 0 is being loaded" in queue.starve(1)
    assert not queue.is_next_queued
    assert not queue.may_starve


@pytest.mark.parametrize(
    ("done", "again", "words"),
    [
        ([], 1, "packet 1 was loaded while packet 0 was next"),
        ([0, 1], 0, "packet 0 was loaded again; packet 2 was next"),
        ([0, 1, 2], 3, "packet 3 was loaded before it had arrived"),
    ],
)
def test_load_out_of_order(done, again, words):
    queue = queue_of(0, 1, 2)
    load(queue, *done)
    assert queue.load_start(again) == words


def test_load_inside_a_load():
    queue = queue_of(0, 1)
    queue.load_start(0)
    assert queue.load_start(1) == "packet 1 was begun while packet 0 was being loaded"


def test_load_that_ends_without_a_beginning():
    assert "never began" in queue_of(0).load_end(0)


def test_one_deviation_is_reported_once():
    queue = queue_of(0, 1, 2, 3)
    assert queue.load_start(1)
    assert queue.load_end(1) == ""
    load(queue, 2, 3)


def test_load_that_never_ends_is_owed():
    queue = queue_of(0)
    queue.load_start(0)
    assert queue.missing() == "the load of packet 0 never ended"


# -- the configuration -------------------------------------------------------------------


def test_configuration_before_the_last_data():
    queue = queue_of(0, 1, 2, config=2)
    load(queue, 0)
    assert queue.config_start() == "the configuration was loaded while data packet 1 was next"


def test_configuration_in_the_middle_of_a_load():
    queue = queue_of(0, 1, config=1)
    queue.load_start(0)
    assert "while packet 0 was being loaded" in queue.config_start()


def test_configuration_without_a_packet():
    queue = queue_of(0)
    load(queue, 0)
    assert queue.config_start() == "the configuration was loaded, but no packet for it arrived"


def test_configuration_twice():
    queue = queue_of(0, config=0)
    queue.config_start()
    assert queue.config_start() == "the configuration was loaded a second time"
    queue.config_end()
    assert queue.config_start() == "the configuration was loaded a second time"


def test_configuration_that_ends_without_a_beginning():
    assert "never began" in queue_of(0, config=0).config_end()


def test_configuration_that_never_ends_or_begins_is_owed():
    queue = queue_of(0, config=0)
    assert queue.missing() == (
        "packet 0 arrived and was next, but the configuration was never loaded"
    )
    queue.config_start()
    assert queue.missing() == "the load of the configuration never ended"


def test_data_after_the_configuration_was_loaded():
    queue = queue_of(0, config=0)
    queue.config_start()
    queue.config_end()
    assert queue.load_start(0) == "packet 0 was loaded after the configuration"


def test_configuration_written_to_the_device_as_data():
    queue = queue_of(0, 1, config=1)
    load(queue, 0)
    assert queue.load_start(1) == "packet 1 was loaded as data, but it is the configuration"


def test_configuration_that_the_trace_does_not_show_is_the_highest():
    queue = DestinationQueue()
    for idx in range(3):
        queue.arrive(idx, is_empty=False)
    load(queue, 0, 1)
    assert queue.config_start() == ""


# -- what must be refused ----------------------------------------------------------------


@pytest.mark.parametrize("idx", [-1, 0xFFFFFFFF])
def test_index_that_is_none(idx):
    assert "no valid index" in DestinationQueue().arrive(idx)


def test_highest_index_is_one():
    assert DestinationQueue().arrive(HIGHEST_IDX) == ""


def test_packet_that_is_queued_already():
    assert queue_of(0, 3).arrive(3) == "packet 3 arrived while it was queued already"


def test_packet_that_was_loaded_already():
    queue = queue_of(0, 1)
    load(queue, 0)
    assert queue.arrive(0) == "packet 0 arrived after it had been loaded"


def test_packet_that_is_being_loaded_is_queued_still():
    queue = queue_of(0)
    queue.load_start(0)
    assert "queued already" in queue.arrive(0)


def test_second_configuration():
    assert "second configuration, after packet 2" in queue_of(2, config=2).arrive(3, is_config=True)


def test_configuration_below_queued_data():
    assert "packet 5 was before it" in queue_of(5).arrive(3, is_config=True)


def test_data_behind_the_configuration():
    words = queue_of(2, config=2).arrive(4, is_config=False)
    assert words == "packet 4 follows the configuration, which is packet 2"


# -- empty buffers -----------------------------------------------------------------------


@pytest.mark.parametrize("is_empty", [True, None])
def test_buffer_that_is_or_may_be_empty_counts_as_loaded(is_empty):
    queue = queue_of(0, 1, 2, is_empty=is_empty)
    assert queue.load_start(2) == ""
    assert queue.load_end(2) == ""
    assert queue.next_idx == 3


def test_buffer_that_is_not_empty_must_be_loaded():
    queue = queue_of(0, 1)
    assert queue.load_start(1) == "packet 1 was loaded while packet 0 was next"


def test_buffer_that_never_came_is_not_taken_for_empty():
    queue = queue_of(2, is_empty=None)
    assert queue.load_start(2) == "packet 2 was loaded while packet 0 was next"


def test_waiting_behind_empty_buffers():
    queue = queue_of(0, 1, is_empty=True)
    assert queue.starve(2) == ""


def test_configuration_behind_empty_buffers():
    queue = queue_of(0, 1, 2, config=2, is_empty=None)
    assert queue.config_start() == ""


@given(st.lists(st.booleans(), max_size=6))
def test_empty_buffers_anywhere(empties):
    queue = DestinationQueue()
    for idx, is_empty in enumerate(empties):
        queue.arrive(idx, is_config=False, is_empty=is_empty)
    queue.arrive(len(empties), is_config=True)
    for idx, is_empty in enumerate(empties):
        if not is_empty:
            load(queue, idx)
    assert queue.config_start() == ""
