"""ORD-5: no data at all, 1 byte, exactly one buffer, one byte more, many, short reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.model.buffers import MOST, buffer_size, sizes


@pytest.mark.parametrize(
    ("reported", "most"),
    [(0, 0), (1, 1), (4096, 4096), (MOST - 1, MOST - 1), (MOST, MOST), (MOST + 1, MOST)],
)
def test_buffer_is_at_most_one_mib_and_at_most_what_the_device_reports(reported, most):
    assert buffer_size(reported) == most


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (0, ()),
        (1, (1,)),
        (MOST - 1, (MOST - 1,)),
        (MOST, (MOST,)),
        (MOST + 1, (MOST, 1)),
        (3 * MOST, (MOST, MOST, MOST)),
    ],
)
def test_state_is_cut_into_full_buffers_and_a_rest(total, expected):
    assert sizes(total, MOST) == expected


def test_a_report_that_is_too_low_makes_small_buffers():
    assert sizes(300_000, 100_000) == (100_000,) * 3


def test_short_reads_are_taken_in_turn_and_over_again():
    assert sizes(100, MOST, (30, 1)) == (30, 1, 30, 1, 30, 1, 7)


def test_a_read_never_gives_more_than_the_buffer_holds():
    assert sizes(10, 4, (100, 2)) == (4, 2, 4)


@given(st.integers(0, 10_000), st.integers(1, 3000), st.lists(st.integers(1, 4000), max_size=4))
def test_no_byte_is_lost_and_no_buffer_is_empty(total, most, limits):
    found = sizes(total, most, tuple(limits))
    assert sum(found) == total
    assert all(0 < size <= most for size in found)
    if not limits and total:
        assert all(size == most for size in found[:-1])
