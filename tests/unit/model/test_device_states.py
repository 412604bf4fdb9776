"""The arcs of VFIO migration, against the words of vfio.h."""

from itertools import pairwise, product

import pytest

from harness.model.device_states import SAVING, arcs, is_legal, path
from harness.model.device_states import DeviceState as S

ALL = {"p2p": True, "pre_copy": True}
OPTIONS = [{"p2p": a, "pre_copy": b} for a, b in product((True, False), repeat=2)]


@pytest.mark.parametrize(
    ("start", "end", "walked"),
    [
        (S.RUNNING, S.RESUMING, (S.RUNNING_P2P, S.STOP, S.RESUMING)),
        (S.RUNNING, S.STOP_COPY, (S.RUNNING_P2P, S.STOP, S.STOP_COPY)),
        (S.RUNNING_P2P, S.STOP_COPY, (S.STOP, S.STOP_COPY)),
        (S.RUNNING, S.PRE_COPY_P2P, (S.RUNNING_P2P, S.PRE_COPY_P2P)),
        (S.STOP, S.PRE_COPY, (S.RUNNING_P2P, S.RUNNING, S.PRE_COPY)),
        (S.PRE_COPY, S.STOP_COPY, (S.PRE_COPY_P2P, S.STOP_COPY)),
        (S.PRE_COPY, S.STOP, (S.RUNNING, S.RUNNING_P2P, S.STOP)),
        (S.PRE_COPY_P2P, S.RUNNING, (S.RUNNING_P2P, S.RUNNING)),
        (S.STOP_COPY, S.RUNNING, (S.STOP, S.RUNNING_P2P, S.RUNNING)),
        (S.STOP_COPY, S.RESUMING, (S.STOP, S.RESUMING)),
        (S.RESUMING, S.RUNNING, (S.STOP, S.RUNNING_P2P, S.RUNNING)),
        (S.RESUMING, S.STOP_COPY, (S.STOP, S.STOP_COPY)),
    ],
)
def test_combination_takes_the_shortest_path_without_saving_states_inside(start, end, walked):
    assert path(start, end, **ALL) == walked


@pytest.mark.parametrize("end", [S.PRE_COPY, S.PRE_COPY_P2P])
def test_stop_copy_does_not_go_back_to_pre_copy(end):
    assert path(S.STOP_COPY, end, **ALL) is None
    assert not is_legal(S.STOP_COPY, end, **ALL)


@pytest.mark.parametrize("options", OPTIONS)
def test_error_can_neither_be_asked_for_nor_left(options):
    for state in S:
        assert path(state, S.ERROR, **options) is None
        assert path(S.ERROR, state, **options) is None


@pytest.mark.parametrize("options", OPTIONS)
def test_staying_walks_nothing(options):
    assert path(S.STOP, S.STOP, **options) == ()


@pytest.mark.parametrize(
    ("start", "end", "walked"),
    [
        (S.RUNNING, S.STOP, (S.STOP,)),
        (S.STOP, S.RUNNING, (S.RUNNING,)),
        (S.RUNNING, S.RESUMING, (S.STOP, S.RESUMING)),
        (S.PRE_COPY, S.STOP_COPY, (S.STOP_COPY,)),
        (S.PRE_COPY, S.STOP, (S.RUNNING, S.STOP)),
    ],
)
def test_device_without_p2p_is_fully_running_instead(start, end, walked):
    assert path(start, end, p2p=False, pre_copy=True) == walked


def test_states_that_the_device_lacks_are_not_legal():
    assert not is_legal(S.RUNNING, S.RUNNING_P2P, p2p=False, pre_copy=True)
    assert not is_legal(S.RUNNING, S.PRE_COPY_P2P, p2p=False, pre_copy=True)
    assert not is_legal(S.RUNNING, S.PRE_COPY, p2p=True, pre_copy=False)
    assert not is_legal(S.RUNNING_P2P, S.PRE_COPY_P2P, p2p=True, pre_copy=False)


def test_arcs_of_pre_copy_are_removed_without_it():
    states = {state for arc in arcs(p2p=True, pre_copy=False) for state in arc}
    assert not states & {S.PRE_COPY, S.PRE_COPY_P2P}
    assert len(arcs(p2p=True, pre_copy=False)) == 8


def test_the_smallest_device_has_six_arcs():
    assert arcs(p2p=False, pre_copy=False) == {
        (S.RUNNING, S.STOP),
        (S.STOP, S.RUNNING),
        (S.STOP, S.STOP_COPY),
        (S.STOP_COPY, S.STOP),
        (S.STOP, S.RESUMING),
        (S.RESUMING, S.STOP),
    }


@pytest.mark.parametrize("options", OPTIONS)
def test_every_path_is_made_of_direct_arcs_and_keeps_one_session(options):
    direct = arcs(**options)
    for start, end in product(S, repeat=2):
        walked = path(start, end, **options)
        if not walked:
            continue
        steps = [start, *walked]
        assert all(pair in direct for pair in pairwise(steps))
        if set(walked[:-1]) & SAVING:
            assert set(steps) <= SAVING


@pytest.mark.parametrize("options", OPTIONS)
def test_from_any_state_the_device_can_run_again(options):
    states = {state for arc in arcs(**options) for state in arc}
    assert all(is_legal(state, S.RUNNING, **options) for state in states)
