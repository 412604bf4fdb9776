"""Which changes of a VFIO device's migration state are legal.

Written from the comment before ``enum vfio_device_mig_state`` in the
kernel's ``include/uapi/linux/vfio.h``:

- the arcs are those listed there, each direct;
- STOP_COPY -> PRE_COPY and STOP_COPY -> PRE_COPY_P2P "are not permitted";
- ERROR cannot be asked for, and only a reset leads out of it;
- a P2P state that a device lacks behaves "as though the device was fully running":
  its arcs become those of the running state;
- every other change is a combination: the shortest path, with no state of the saving group
  between its ends.  PRE_COPY -> STOP_COPY still goes through PRE_COPY_P2P: the complete path is
  in the saving group, and is one data transfer session.

A device starts in RUNNING.
"""

import enum
from collections import deque


class DeviceState(enum.StrEnum):
    """``enum vfio_device_mig_state`` without its prefix."""

    ERROR = "ERROR"
    STOP = "STOP"
    RUNNING = "RUNNING"
    STOP_COPY = "STOP_COPY"
    RESUMING = "RESUMING"
    RUNNING_P2P = "RUNNING_P2P"
    PRE_COPY = "PRE_COPY"
    PRE_COPY_P2P = "PRE_COPY_P2P"


S = DeviceState

SAVING = frozenset({S.STOP_COPY, S.PRE_COPY, S.PRE_COPY_P2P})
"""The saving group: its states share one data transfer session."""

_P2P = {S.RUNNING_P2P: S.RUNNING, S.PRE_COPY_P2P: S.PRE_COPY}
"""The optional P2P states, and the state that replaces each in a device that lacks it."""
_PRE_COPY = frozenset({S.PRE_COPY, S.PRE_COPY_P2P})
_NOT_PERMITTED = frozenset({(S.STOP_COPY, S.PRE_COPY), (S.STOP_COPY, S.PRE_COPY_P2P)})

ARCS: frozenset[tuple[DeviceState, DeviceState]] = frozenset(
    {
        (S.RUNNING_P2P, S.STOP),
        (S.STOP_COPY, S.STOP),
        (S.RESUMING, S.STOP),
        (S.PRE_COPY, S.RUNNING),
        (S.RUNNING_P2P, S.RUNNING),
        (S.PRE_COPY_P2P, S.RUNNING_P2P),
        (S.RUNNING, S.RUNNING_P2P),
        (S.STOP, S.RUNNING_P2P),
        (S.RUNNING, S.PRE_COPY),
        (S.RUNNING_P2P, S.PRE_COPY_P2P),
        (S.STOP, S.STOP_COPY),
        (S.PRE_COPY, S.PRE_COPY_P2P),
        (S.PRE_COPY_P2P, S.PRE_COPY),
        (S.PRE_COPY_P2P, S.STOP_COPY),
        (S.STOP, S.RESUMING),
    }
)
"""The direct arcs of a device that has all optional states."""


def arcs(*, p2p: bool, pre_copy: bool) -> frozenset[tuple[DeviceState, DeviceState]]:
    """The direct arcs of a device with these options."""
    found = set()
    instead = {} if p2p else _P2P
    for arc in ARCS:
        start, end = (instead.get(state, state) for state in arc)
        if start is not end and (pre_copy or not {start, end} & _PRE_COPY):
            found.add((start, end))
    return frozenset(found)


def path(
    start: DeviceState, end: DeviceState, *, p2p: bool, pre_copy: bool
) -> tuple[DeviceState, ...] | None:
    """The states after ``start`` on the path to ``end``; None if it is not legal.

    Empty if nothing changes.
    """
    lacks_p2p = not p2p and end in _P2P
    lacks_pre_copy = not pre_copy and end in _PRE_COPY
    if S.ERROR in (start, end) or lacks_p2p or lacks_pre_copy or (start, end) in _NOT_PERMITTED:
        return None
    direct = arcs(p2p=p2p, pre_copy=pre_copy)
    stays_saving = start in SAVING and end in SAVING
    queue: deque[tuple[DeviceState, ...]] = deque([(start,)])
    seen = {start}
    while queue:
        walked = queue.popleft()
        if walked[-1] is end:
            return walked[1:]
        if walked[-1] in SAVING and walked[-1] is not start and not stays_saving:
            continue
        for state in DeviceState:
            if state not in seen and (walked[-1], state) in direct:
                seen.add(state)
                queue.append((*walked, state))
    return None


def is_legal(start: DeviceState, end: DeviceState, *, p2p: bool, pre_copy: bool) -> bool:
    """Whether a device in ``start`` may be asked for ``end``."""
    return path(start, end, p2p=p2p, pre_copy=pre_copy) is not None
