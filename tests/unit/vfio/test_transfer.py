"""Both ends of a data_fd: what each call gets, and what is known at the end."""

import errno
import itertools

import msgspec
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.history.device import PrecopyChanged, Received, Sent
from harness.scenario import MIB, EmulatedDevice, Lie, LoadBehaviour, SaveBehaviour
from harness.scenario.precopy import PrecopyChange
from harness.vfio.state_bytes import CHUNK, StateBytes
from harness.vfio.transfer import Loading, Saving, Share

quick = settings(deadline=None, max_examples=80)
HEAD = bytes(range(1, 9))


class File:
    """A memfd's content."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.data[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        self.data[offset : offset + len(data)] = data

    def size(self) -> int:
        return len(self.data)

    def truncate(self, size: int) -> None:
        del self.data[size:]


def device(size=100, *, save=None, load=None, **more):
    return EmulatedDevice(
        id="d",
        size=size,
        save=SaveBehaviour(**(save or {})),
        load=LoadBehaviour(**(load or {})),
        **more,
    )


def state_of(spec, head=b""):
    return StateBytes(spec.seed, spec.total_size, head, spec.precopy_size)


def saving_of(spec, *, stopped=True):
    saving = Saving(spec, state_of(spec))
    if stopped:
        saving.stop(b"")
    return saving


def reads(saving, asked, limit=1000):
    """(offset, count, errno) of each ``read`` until the end or an error."""
    found = []
    for _ in range(limit):
        share = saving.read(asked)
        found.append((share.offset, share.count, share.errno))
        if share.errno or not share.count:
            return found
        saving.commit(share.count)
    raise AssertionError("it has no end")


# -- saving ---------------------------------------------------------------------------


def test_all_is_given_as_asked_and_then_comes_the_end():
    assert reads(saving_of(device(100)), 40) == [
        (0, 40, 0),
        (40, 40, 0),
        (80, 20, 0),
        (100, 0, 0),
    ]


def test_device_without_state_is_at_its_end_at_once():
    assert reads(saving_of(device(0)), 40) == [(0, 0, 0)]


def test_read_sizes_are_used_in_turn_and_over_again():
    saving = saving_of(device(30, save={"read_sizes": (1, 10, 3)}))
    assert [count for _, count, _ in reads(saving, 8)] == [1, 8, 3, 1, 8, 3, 1, 5, 0]


def test_a_call_that_moved_nothing_does_not_use_up_its_turn():
    saving = saving_of(device(30, save={"read_sizes": (1, 10)}))
    assert saving.read(8) == saving.read(8) == Share(0, 1)


@pytest.mark.parametrize("error_at", [0, 1, 39, 40, 41, 99])
def test_read_error_comes_at_the_exact_byte(error_at):
    found = reads(saving_of(device(100, save={"error_at": error_at})), 40)
    assert found[-1] == (error_at, 0, errno.EIO)
    assert sum(count for _, count, _ in found) == error_at
    assert all(error == 0 for *_, error in found[:-1])


def test_read_error_past_the_end_does_not_come():
    found = reads(saving_of(device(100, save={"error_at": 101})), 40)
    assert found[-1] == (100, 0, 0)


def test_pre_copy_gives_its_part_and_then_reports_no_more_for_now():
    spec = device(10, pre_copy=True, precopy_initial_bytes=6, precopy_dirty_bytes=3)
    saving = saving_of(spec, stopped=False)
    assert reads(saving, 5) == [(0, 5, 0), (5, 4, 0), (9, 0, errno.ENOMSG)]
    saving.stop(b"")
    assert reads(saving, 8) == [(9, 8, 0), (17, 2, 0), (19, 0, 0)]


def test_stop_cuts_nothing_of_a_pre_copy_that_was_not_read():
    spec = device(10, pre_copy=True, precopy_initial_bytes=6)
    saving = saving_of(spec, stopped=False)
    saving.commit(saving.read(2).count)
    saving.stop(b"")
    assert reads(saving, 100) == [(2, 14, 0), (16, 0, 0)]


def test_what_is_left_of_a_pre_copy_is_initial_first():
    spec = device(10, pre_copy=True, precopy_initial_bytes=6, precopy_dirty_bytes=3)
    saving = saving_of(spec, stopped=False)
    left = []
    for count in (0, 4, 2, 1, 2):
        saving.commit(count)
        left.append(saving.precopy_left())
    assert left == [(6, 3), (2, 3), (0, 3), (0, 2), (0, 0)]


def test_nothing_is_left_of_the_pre_copy_once_stop_copy_is_read():
    spec = device(10, pre_copy=True, precopy_initial_bytes=6)
    saving = saving_of(spec)
    saving.commit(8)
    assert saving.precopy_left() == (0, 0)


def test_contents_at_the_stop_lie_behind_the_pre_copy_part():
    spec = device(20, pre_copy=True, precopy_initial_bytes=6)
    saving = saving_of(spec, stopped=False)
    saving.stop(HEAD)
    assert saving.state.chunk(6, 8) == HEAD
    assert saving.state.chunk(0, 6) == state_of(spec).chunk(0, 6)
    assert saving.state.chunk(14, 12) == state_of(spec).chunk(14, 12)


@quick
@given(
    size=st.integers(0, 300),
    read_sizes=st.lists(st.integers(1, 40), max_size=4).map(tuple),
    asked=st.integers(1, 64),
)
def test_reads_make_up_the_state_without_gap_or_overlap(size, read_sizes, asked):
    spec = device(size, save={"read_sizes": read_sizes})
    found = reads(saving_of(spec), asked)
    assert [at for at, *_ in found] == [0, *itertools.accumulate(n for _, n, _ in found[:-1])]
    assert found[-1] == (size, 0, 0)
    assert all(count <= asked for _, count, _ in found)


def test_sent_is_the_complete_state_however_much_was_read():
    spec = device(2 * CHUNK)
    saving = Saving(spec, state_of(spec))
    saving.stop(HEAD)
    assert saving.report() == Sent(2 * CHUNK, state_of(spec, HEAD).digest())


# -- loading --------------------------------------------------------------------------


def load(spec, data, expected, pieces=()):
    """The ``Loading`` after ``data`` was committed in ``pieces``."""
    loading = Loading(spec, lambda: expected)
    loading.keep_head(len(HEAD))
    bounds = [0, *sorted(min(cut, len(data)) for cut in pieces), len(data)]
    for start, end in itertools.pairwise(bounds):
        loading.commit(data[start:end])
    return loading


def all_bytes(state):
    return b"".join(state.chunks())


def accepted(loading, asked, limit=100):
    found = []
    for _ in range(limit):
        share = loading.write(asked)
        found.append((share.offset, share.count, share.errno))
        if share.errno:
            return found
        loading.commit(bytes(share.count))
    return found


def test_write_sizes_are_used_in_turn_and_over_again():
    loading = Loading(device(load={"write_sizes": (4, 1)}), lambda: None)
    assert accepted(loading, 3, 4) == [(0, 3, 0), (3, 1, 0), (4, 3, 0), (7, 1, 0)]


def test_everything_is_accepted_without_settings():
    assert Loading(device(), lambda: None).write(1 << 30) == Share(0, 1 << 30)


@pytest.mark.parametrize("error_at", [0, 1, 6, 7, 8])
def test_write_error_comes_at_the_exact_byte(error_at):
    loading = Loading(device(load={"error_at": error_at}), lambda: None)
    found = accepted(loading, 7)
    assert found[-1] == (error_at, 0, errno.EIO)
    assert sum(count for _, count, _ in found) == error_at


@quick
@given(
    size=st.integers(0, 200),
    precopy=st.integers(0, 20),
    pieces=st.lists(st.integers(0, 200), max_size=8),
    damage_at=st.none() | st.integers(0, 220),
)
def test_pieces_do_not_matter(size, precopy, pieces, damage_at):
    """Any cut of the writes gives the report and the head of one write."""
    spec = device(size, pre_copy=True, precopy_initial_bytes=precopy)
    expected = state_of(spec, HEAD)
    data = bytearray(all_bytes(expected))
    is_damaged = damage_at is not None and damage_at < len(data)
    if is_damaged:
        data[damage_at] ^= 0x40
    one, cut = load(spec, bytes(data), expected), load(spec, bytes(data), expected, pieces)
    assert cut.report() == one.report()
    assert cut.finish() == one.finish() == bytes(data[precopy : precopy + len(HEAD)])
    assert cut.report().first_difference == (damage_at if is_damaged else -1)


def test_report_of_a_state_that_arrived():
    spec = device(CHUNK + 7)
    expected = state_of(spec, HEAD)
    digest = expected.digest()
    assert load(spec, all_bytes(expected), expected).report() == Received(
        bytes=CHUNK + 7,
        digest=digest,
        expected_bytes=CHUNK + 7,
        expected_digest=digest,
        first_difference=-1,
    )


def test_report_of_a_damaged_state_has_both_digests():
    spec = device(50)
    expected = state_of(spec)
    data = bytearray(all_bytes(expected))
    data[20] ^= 1
    data[30] ^= 1
    report = load(spec, bytes(data), expected, [10, 25]).report()
    assert report.first_difference == 20
    assert report.digest == xxhash.xxh3_128_hexdigest(data)
    assert report.expected_digest == expected.digest()


@pytest.mark.parametrize("at", [0, 1, 49])
def test_first_of_several_differences_is_reported(at):
    spec = device(50)
    expected = state_of(spec)
    data = bytearray(all_bytes(expected))
    data[at] ^= 1
    data[49] ^= 2
    for pieces in ([], [1], [1, 2, 30]):
        assert load(spec, bytes(data), expected, pieces).report().first_difference == at


@pytest.mark.parametrize("size", [0, 1, 49])
def test_state_that_ends_early_differs_where_it_ends(size):
    spec = device(50)
    expected = state_of(spec)
    report = load(spec, all_bytes(expected)[:size], expected).report()
    assert (report.bytes, report.expected_bytes) == (size, 50)
    assert report.first_difference == size
    assert report.expected_digest == expected.digest() != report.digest


def test_state_that_goes_on_differs_where_it_should_have_ended():
    spec = device(50)
    expected = state_of(spec)
    report = load(spec, all_bytes(expected) + b"more", expected, [50]).report()
    assert (report.bytes, report.expected_bytes) == (54, 50)
    assert report.first_difference == 50


def test_state_of_a_source_that_is_not_known_is_no_arrived_state():
    spec = device(50)
    report = load(spec, all_bytes(state_of(spec)), None).report()
    assert (report.bytes, report.expected_bytes) == (50, -1)


@pytest.mark.parametrize("is_damaged", [False, True])
def test_source_that_becomes_known_late_is_compared_all_the_same(is_damaged):
    spec = device(50)
    expected = state_of(spec)
    data = bytearray(all_bytes(expected))
    data[20] ^= is_damaged
    known: list[StateBytes] = []
    loading = Loading(spec, lambda: known[0] if known else None)
    loading.commit(bytes(data))
    known.append(expected)
    report = loading.report()
    assert (report.first_difference == -1) is not is_damaged
    assert (report.digest == report.expected_digest) is not is_damaged


def test_memfd_is_shown_afterwards():
    spec = device(2 * CHUNK + 5)
    expected = state_of(spec, HEAD)
    loading = Loading(spec, lambda: expected)
    loading.keep_head(len(HEAD))
    loading.memory = File(all_bytes(expected))
    assert loading.finish() == HEAD
    report = loading.report()
    assert report.bytes == 2 * CHUNK + 5
    assert report.first_difference == -1
    assert report.digest == expected.digest()


def test_head_of_a_memfd_lies_behind_the_pre_copy_part():
    spec = device(50, pre_copy=True, precopy_initial_bytes=7)
    loading = Loading(spec, lambda: None)
    loading.keep_head(len(HEAD))
    loading.memory = File(all_bytes(state_of(spec, HEAD)))
    assert loading.finish() == HEAD


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9])
def test_head_is_as_long_as_the_state_has_it(size):
    spec = device(size)
    data = all_bytes(state_of(spec, HEAD))
    supervised = load(spec, data, None)
    shown = Loading(spec, lambda: None)
    shown.keep_head(len(HEAD))
    shown.memory = File(data)
    assert supervised.finish() == shown.finish() == HEAD[:size]


def test_no_head_is_kept_unless_it_was_asked_for():
    loading = Loading(device(50), lambda: None)
    loading.commit(bytes(50))
    assert loading.finish() == b""


# -- lies -----------------------------------------------------------------------------


def with_lie(lie, *, size, lie_at=0, **more):
    """(state, what it has become) after the lie."""
    spec = device(size, load={"lie": lie, "lie_at": lie_at}, **more)
    expected = state_of(spec)
    loading = Loading(spec, lambda: expected)
    loading.memory = File(all_bytes(expected))
    loading.finish()
    changed = bytes(loading.memory.data)
    assert loading.has_lied is (changed != all_bytes(expected))
    return all_bytes(expected), changed, loading.report()


def test_truth_is_left_alone():
    before, after, report = with_lie(None, size=100)
    assert after == before
    assert report.first_difference == -1


def test_wrong_byte_is_one_byte_in_the_middle_of_its_buffer():
    before, after, report = with_lie(Lie.WRONG_BYTE, size=100, lie_at=2, reported_size=30)
    differ = [at for at in range(100) if before[at] != after[at]]
    assert differ == [60 + 15]
    assert report.first_difference == 75


def test_lost_buffer_shifts_the_rest():
    before, after, report = with_lie(Lie.LOST_BUFFER, size=100, lie_at=1, reported_size=30)
    assert after == before[:30] + before[60:]
    assert (report.bytes, report.first_difference) == (70, 30)


def test_swapped_buffers_change_places():
    before, after, report = with_lie(Lie.SWAPPED_BUFFERS, size=100, lie_at=1, reported_size=30)
    assert after == before[:30] + before[60:90] + before[30:60] + before[90:]
    assert (report.bytes, report.first_difference) == (100, 30)


def test_buffer_is_swapped_with_a_shorter_last_one():
    before, after, _ = with_lie(Lie.SWAPPED_BUFFERS, size=100, lie_at=2, reported_size=30)
    assert after == before[:60] + before[90:] + before[60:90]


@pytest.mark.parametrize("lie", Lie)
def test_lie_about_the_last_short_buffer_stays_inside(lie):
    before, after, _ = with_lie(lie, size=100, lie_at=3, reported_size=30)
    assert after[:90] == before[:90]
    assert len(after) == (90 if lie is Lie.LOST_BUFFER else 100)


@pytest.mark.parametrize("lie", Lie)
def test_lie_about_a_buffer_that_there_is_not_is_not_reported(lie):
    before, after, report = with_lie(lie, size=100, lie_at=4, reported_size=30)
    assert after == before
    assert report.first_difference == -1


@pytest.mark.parametrize(
    ("size", "more", "buffer"),
    [
        (3 * MIB, {}, MIB),
        (100, {}, 100),
        (3 * MIB, {"reported_size": 4096}, 4096),
        (3 * MIB, {"reported_size": 8 * MIB}, MIB),
        (3 * MIB, {"save": {"read_sizes": (1000,)}}, 1000),
        (3 * MIB, {"save": {"read_sizes": (1000, 7)}}, 1000),
    ],
)
def test_buffer_is_what_one_read_of_the_source_gave(size, more, buffer):
    before, after, _ = with_lie(Lie.LOST_BUFFER, size=size, **more)
    assert after == before[buffer:]


def test_last_buffer_that_has_none_to_be_swapped_with_is_left_alone():
    before, after, _ = with_lie(Lie.SWAPPED_BUFFERS, size=90, lie_at=2, reported_size=30)
    assert after == before


@pytest.mark.parametrize("lie", Lie)
def test_lie_about_buffers_of_no_bytes_is_not_reported(lie):
    before, after, _ = with_lie(lie, size=100, reported_size=0)
    assert after == before


@pytest.mark.parametrize("lie", Lie)
def test_lie_about_no_state_at_all_is_not_reported(lie):
    assert with_lie(lie, size=0)[1] == b""


def test_settings_come_from_the_scenario():
    spec = device(10, save={"read_sizes": (3,)})
    other = msgspec.structs.replace(spec, save=SaveBehaviour())
    assert saving_of(spec).read(10).count == 3
    assert saving_of(other).read(10).count == 10


# -- changes of what there is for pre-copy ------------------------------------------------


def changing(*changes, has_flags=False):
    """10 initial and 20 dirty bytes, 100 for stop-copy; returns the records, too."""
    spec = device(
        100,
        pre_copy=True,
        precopy_initial_bytes=10,
        precopy_dirty_bytes=20,
        precopy_changes=changes,
    )
    seen = []
    return Saving(spec, state_of(spec), seen.append, has_flags=has_flags), seen


@pytest.mark.parametrize(
    ("change", "left", "total"),
    [
        (PrecopyChange(at=5, dirty_bytes=7), (5, 27), 137),
        (PrecopyChange(at=5, dirty_bytes=-7), (5, 13), 123),
        (PrecopyChange(at=5, dirty_bytes=-70), (5, 0), 110),
        (PrecopyChange(at=5, initial_bytes=7), (5, 27), 137),
        (PrecopyChange(at=5, every=1, dirty_bytes=1), (5, 21), 131),
        (PrecopyChange(at=2, every=2, dirty_bytes=1), (5, 22), 132),
    ],
)
def test_dirty_bytes_grow_and_shrink(change, left, total):
    saving, seen = changing(change)
    saving.commit(1)
    assert not seen
    saving.commit(4)
    assert saving.precopy_left() == left
    assert saving.state.total == total
    saving.stop(HEAD)
    assert saving.state.total == total
    assert saving.state.chunk(saving.precopy_end, 8) == HEAD


def test_new_initial_bytes_replace_what_was_not_read():
    saving, seen = changing(PrecopyChange(at=5, initial_bytes=7), has_flags=True)
    assert not saving.ask(0)
    saving.commit(5)
    assert saving.precopy_left() == (7, 0)
    assert [saving.ask(0), saving.ask(0)] == [True, False]
    assert seen == [PrecopyChanged(0, 5, 7, 0, is_reinit=True)]
    assert saving.state.total == 112


def test_change_comes_at_its_time_once():
    saving, seen = changing(PrecopyChange(after_s=1.0, dirty_bytes=7))
    saving.ask(0.9)
    assert not seen
    saving.ask(1.0)
    saving.ask(2.0)
    assert len(seen) == 1


def test_change_at_a_time_comes_with_pre_copy_p2p_at_the_latest():
    saving, seen = changing(PrecopyChange(after_s=1.0, dirty_bytes=7))
    saving.enter_p2p(2.0)
    assert len(seen) == 1


def test_change_at_the_check_comes_when_nothing_was_read_since_the_last_question():
    saving, seen = changing(PrecopyChange(at_check=True, initial_bytes=7), has_flags=True)
    for _ in range(2):
        assert not saving.ask(0)
        saving.read(100)
    assert not saving.ask(0)
    assert saving.ask(0)
    assert len(seen) == 1


def test_change_at_the_switchover_comes_before_the_stop_only():
    saving, seen = changing(
        PrecopyChange(at_switchover=True, dirty_bytes=7), PrecopyChange(at=60, dirty_bytes=1)
    )
    saving.enter_p2p(0)
    assert saving.precopy_left() == (10, 27)
    saving.stop(HEAD)
    saving.commit(100)
    assert [each.number for each in seen] == [0]


def test_destination_finds_the_contents_behind_the_changed_part():
    saving, _ = changing(PrecopyChange(at=5, dirty_bytes=7))
    loading = Loading(saving._spec, lambda: saving.state)
    loading.keep_head(len(HEAD))
    while loading.report().bytes != saving.state.total:
        share = saving.read(11)
        if share.errno == errno.ENOMSG:
            saving.stop(HEAD)
            continue
        data = saving.state.chunk(share.offset, share.count)
        saving.commit(share.count)
        loading.commit(data)
    assert loading.finish() == HEAD
    assert loading.report().first_difference == -1
