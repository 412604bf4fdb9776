"""Paths are those of vfio.h, found here by a search over the arcs that its comment lists."""

import itertools

import pytest

from harness.vfio import arcs
from harness.vfio.uapi import DeviceState as S
from harness.vfio.uapi import MigrationFlag as F

FLAG_SETS = [F(bits) for bits in range(8)]

# The arcs in the comment of enum vfio_device_mig_state, which a driver has to implement.
BASE = {
    (S.STOP_COPY, S.STOP),
    (S.RESUMING, S.STOP),
    (S.STOP, S.STOP_COPY),
    (S.STOP, S.RESUMING),
}
WITHOUT_P2P = {(S.RUNNING, S.STOP), (S.STOP, S.RUNNING)}
WITH_P2P = {
    (S.RUNNING_P2P, S.STOP),
    (S.RUNNING_P2P, S.RUNNING),
    (S.RUNNING, S.RUNNING_P2P),
    (S.STOP, S.RUNNING_P2P),
}
WITH_PRE_COPY = {(S.PRE_COPY, S.RUNNING), (S.RUNNING, S.PRE_COPY)}
WITH_PRE_COPY_ONLY = {(S.PRE_COPY, S.STOP_COPY)}
WITH_BOTH = {
    (S.PRE_COPY_P2P, S.RUNNING_P2P),
    (S.RUNNING_P2P, S.PRE_COPY_P2P),
    (S.PRE_COPY, S.PRE_COPY_P2P),
    (S.PRE_COPY_P2P, S.PRE_COPY),
    (S.PRE_COPY_P2P, S.STOP_COPY),
}
SAVING_GROUP = {S.PRE_COPY, S.PRE_COPY_P2P, S.STOP_COPY}
NOT_PERMITTED = {(S.STOP_COPY, S.PRE_COPY), (S.STOP_COPY, S.PRE_COPY_P2P)}


def direct_arcs(flags):
    if not flags & F.STOP_COPY:
        return set()
    found = BASE | (WITH_P2P if flags & F.P2P else WITHOUT_P2P)
    if flags & F.PRE_COPY:
        found |= WITH_PRE_COPY | (WITH_BOTH if flags & F.P2P else WITH_PRE_COPY_ONLY)
    return found


def states_of(flags):
    return {state for arc in direct_arcs(flags) for state in arc}


def shortest_paths(current, wanted, flags):
    """All shortest paths of vfio.h's two rules, ``current`` left out."""
    direct = direct_arcs(flags)
    # "The path cannot have saving group states as interior arcs", but within the group.
    is_inside = {current, wanted} <= SAVING_GROUP
    paths: list[tuple[S, ...]] = [(current,)]
    for _ in S:
        if found := [path[1:] for path in paths if path[-1] is wanted]:
            return found
        paths = [
            (*path, after)
            for path in paths
            for before, after in direct
            if before is path[-1]
            and after not in path
            and (len(path) == 1 or is_inside or before not in SAVING_GROUP)
        ]
    return []


def wanted_path(current, wanted, flags):
    if current not in states_of(flags) or wanted not in states_of(flags):
        return None
    if (current, wanted) in NOT_PERMITTED:
        return None
    (path,) = shortest_paths(current, wanted, flags)
    return path


def reachable(flags):
    """States that a device with ``flags`` can be in; every device begins in RUNNING."""
    return states_of(flags) | {S.ERROR, S.RUNNING}


@pytest.mark.parametrize("flags", FLAG_SETS, ids=str)
def test_every_path_is_the_shortest_that_the_header_allows(flags):
    pairs = list(itertools.product(sorted(reachable(flags)), S))
    expected = {pair: wanted_path(*pair, flags) for pair in pairs}
    assert {pair: arcs.path(*pair, flags) for pair in pairs} == expected


@pytest.mark.parametrize("flags", FLAG_SETS, ids=str)
def test_every_step_is_an_arc_of_the_header(flags):
    for current, wanted in itertools.product(reachable(flags), S):
        path = arcs.path(current, wanted, flags)
        steps = set(itertools.pairwise((current, *(path or ()))))
        assert steps <= direct_arcs(flags), f"{current.name} to {wanted.name}: {path}"


@pytest.mark.parametrize("flags", FLAG_SETS, ids=str)
def test_a_state_that_the_device_lacks_is_refused(flags):
    supported = {state for state in S if arcs.is_supported(state, flags)}
    assert supported == states_of(flags)
    for current, wanted in itertools.product(reachable(flags), set(S) - supported):
        assert arcs.path(current, wanted, flags) is None


@pytest.mark.parametrize("flags", FLAG_SETS, ids=str)
def test_error_is_neither_asked_for_nor_left(flags):
    for state in S:
        assert arcs.path(state, S.ERROR, flags) is None
        assert arcs.path(S.ERROR, state, flags) is None
        assert S.ERROR not in (arcs.path(state, S.STOP, flags) or ())


def test_nothing_changes_on_the_way_to_the_present_state():
    for state in set(S) - {S.ERROR}:
        assert arcs.path(state, state, F.STOP_COPY | F.P2P | F.PRE_COPY) == ()


def test_stop_copy_does_not_go_back_to_pre_copy():
    everything = F.STOP_COPY | F.P2P | F.PRE_COPY
    assert arcs.path(S.STOP_COPY, S.PRE_COPY, everything) is None
    assert arcs.path(S.STOP_COPY, S.PRE_COPY_P2P, everything) is None


def test_saving_states_are_those_that_share_a_data_fd():
    assert arcs.SAVING == SAVING_GROUP


def test_a_saving_session_begins_with_the_last_step():
    """So a combination that opens a data_fd can hand it out at its end."""
    for flags, current, wanted in itertools.product(FLAG_SETS, S, S):
        for number, step in enumerate(path := arcs.path(current, wanted, flags) or ()):
            before = path[number - 1] if number else current
            if step is S.RESUMING or (step in SAVING_GROUP and before not in SAVING_GROUP):
                assert number == len(path) - 1, f"{current.name} to {wanted.name}: {path}"
