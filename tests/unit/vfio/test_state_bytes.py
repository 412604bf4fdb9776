"""State bytes: any piece of the stream is what the complete stream has there."""

import itertools

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.vfio.state_bytes import CHUNK, StateBytes, digest, first_difference, generate

quick = settings(deadline=None, max_examples=80)


def all_bytes(state):
    return b"".join(state.chunks())


@quick
@given(
    seed=st.integers(-(1 << 40), 1 << 40), offset=st.integers(0, 5000), length=st.integers(0, 5000)
)
def test_any_piece_is_a_slice_of_the_stream(seed, offset, length):
    assert generate(seed, offset, length) == generate(seed, 0, 10_000)[offset : offset + length]


def test_stream_goes_on_far_out():
    far = 1 << 45
    assert generate(1, far - 7, 20)[7:] == generate(1, far, 13)


def test_chunks_are_a_mebibyte():
    """As QEMU's buffers at most are."""
    assert CHUNK == 1024 * 1024


@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5])
def test_large_piece_is_the_same_stream(size):
    large = generate(7, 3, size)
    assert len(large) == size
    assert large[-100:] == generate(7, 3 + size - 100, 100)


def test_stream_is_the_same_in_every_release():
    """Source and destination may be different versions of the harness; a run is kept for years."""
    assert xxhash.xxh3_128_hexdigest(generate(1, 0, 4096)) == "f76c20df8983a2058f922cba5eec50af"


@quick
@given(st.lists(st.integers(), min_size=2, max_size=2, unique=True))
def test_other_seeds_give_other_bytes(seeds):
    one, other = (generate(seed, 0, 64) for seed in seeds)
    assert one != other


def test_no_buffer_equals_another_of_the_same_stream():
    """So one that is lost, moved or given twice is seen."""
    blocks = [generate(1, offset, 16) for offset in range(0, 1 << 16, 16)]
    assert len(set(blocks)) == len(blocks)


@quick
@given(
    total=st.integers(0, 600),
    head=st.binary(max_size=200),
    head_at=st.integers(0, 700),
    offset=st.integers(0, 700),
    length=st.integers(0, 700),
)
def test_chunk_is_a_slice_of_the_complete_state(total, head, head_at, offset, length):
    state = StateBytes(3, total, head, head_at)
    plain = generate(3, 0, total)
    expected = (plain[:head_at] + head + plain[head_at + len(head) :])[:total]
    if head_at > total:
        expected = plain
    assert state.chunk(offset, length) == expected[offset : offset + length]
    assert state.chunk(0, total + 1) == expected


@pytest.mark.parametrize(
    ("total", "head_at", "kept"),
    [
        (0, 0, b""),
        (1, 0, b"h"),
        (3, 0, b"hea"),
        (4, 0, b"head"),
        (9, 0, b"head"),
        (6, 4, b"he"),
        (4, 4, b""),
        (3, 4, b""),
    ],
)
def test_head_is_cut_off_where_the_state_ends(total, head_at, kept):
    state = StateBytes(1, total, b"head", head_at)
    assert state.head == kept
    assert all_bytes(state)[head_at : head_at + 4] == kept
    assert len(all_bytes(state)) == total


def test_chunks_are_bounded_and_make_up_the_state():
    state = StateBytes(2, 2 * CHUNK + 1, b"x" * 100, CHUNK - 50)
    sizes = [len(chunk) for chunk in state.chunks()]
    assert sizes == [CHUNK, CHUNK, 1]
    assert all_bytes(state)[CHUNK - 50 : CHUNK + 50] == b"x" * 100


def test_state_of_no_bytes_has_no_chunks():
    assert list(StateBytes(1, 0).chunks()) == []


@quick
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_digest_does_not_depend_on_the_cuts(data, cuts):
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(bounds)]
    assert digest(iter(pieces)) == xxhash.xxh3_128_hexdigest(data)


def test_digest_is_worked_out_once(monkeypatch):
    state = StateBytes(5, 100)
    found = state.digest()
    monkeypatch.setattr(state, "chunks", None)
    assert state.digest() == found


def test_digest_of_a_state_is_that_of_its_bytes():
    state = StateBytes(5, CHUNK + 3, b"head", 10)
    assert state.digest() == xxhash.xxh3_128_hexdigest(all_bytes(state))


def naive_first_difference(a, b):
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), -1)


@quick
@given(st.binary(max_size=300), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255))))
def test_first_difference_is_the_first(data, changes):
    other = bytearray(data)
    for at, value in changes:
        if at < len(other):
            other[at] = value
    assert first_difference(data, bytes(other)) == naive_first_difference(data, other)


@quick
@given(st.binary(max_size=40), st.binary(max_size=40))
def test_first_difference_looks_at_the_shorter_length(a, b):
    assert first_difference(a, b) == naive_first_difference(a, b)


@pytest.mark.parametrize("at", [0, 1, 511, 512, 1022, 1023])
def test_first_difference_finds_one_byte_anywhere(at):
    data = generate(1, 0, 1024)
    other = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
    assert first_difference(data, other) == at
