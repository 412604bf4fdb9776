"""The migration states and the path from one to another, as the kernel takes it.

``NEXT[current][wanted]`` is the next state on the path, for a device with all optional
states; a state that the device lacks is skipped.  Source:
``vfio_mig_get_next_state()`` in ``drivers/vfio/vfio_main.c`` and the arcs in the
comment of ``enum vfio_device_mig_state`` in ``vfio.h``.
"""

from harness.vfio.uapi import DeviceState as S
from harness.vfio.uapi import MigrationFlag as F

_ORDER = (S.STOP, S.RUNNING, S.STOP_COPY, S.RESUMING, S.RUNNING_P2P, S.PRE_COPY, S.PRE_COPY_P2P)


def _row(*towards: S) -> dict[S, S]:
    """One row, its columns in the order of ``_ORDER``."""
    return dict(zip(_ORDER, towards, strict=True))


# fmt: off
NEXT: dict[S, dict[S, S]] = {
    # towards:          STOP           RUNNING        STOP_COPY       RESUMING       RUNNING_P2P    PRE_COPY       PRE_COPY_P2P  # noqa: E501
    S.STOP:        _row(S.STOP,        S.RUNNING_P2P, S.STOP_COPY,    S.RESUMING,    S.RUNNING_P2P, S.RUNNING_P2P, S.RUNNING_P2P),  # noqa: E501
    S.RUNNING:     _row(S.RUNNING_P2P, S.RUNNING,     S.RUNNING_P2P,  S.RUNNING_P2P, S.RUNNING_P2P, S.PRE_COPY,    S.RUNNING_P2P),  # noqa: E501
    S.STOP_COPY:   _row(S.STOP,        S.STOP,        S.STOP_COPY,    S.STOP,        S.STOP,        S.ERROR,       S.ERROR),  # noqa: E501
    S.RESUMING:    _row(S.STOP,        S.STOP,        S.STOP,         S.RESUMING,    S.STOP,        S.STOP,        S.STOP),  # noqa: E501
    S.RUNNING_P2P: _row(S.STOP,        S.RUNNING,     S.STOP,         S.STOP,        S.RUNNING_P2P, S.RUNNING,     S.PRE_COPY_P2P),  # noqa: E501
    S.PRE_COPY:    _row(S.RUNNING,     S.RUNNING,     S.PRE_COPY_P2P, S.RUNNING,     S.RUNNING,     S.PRE_COPY,    S.PRE_COPY_P2P),  # noqa: E501
    S.PRE_COPY_P2P: _row(S.RUNNING_P2P, S.RUNNING_P2P, S.STOP_COPY,   S.RUNNING_P2P, S.RUNNING_P2P, S.PRE_COPY,    S.PRE_COPY_P2P),  # noqa: E501
}
# fmt: on

_NEEDS: dict[S, F] = {
    S.STOP_COPY: F.STOP_COPY,
    S.RESUMING: F.STOP_COPY,
    S.STOP: F.STOP_COPY,
    S.RUNNING: F.STOP_COPY,
    S.RUNNING_P2P: F.STOP_COPY | F.P2P,
    S.PRE_COPY: F.STOP_COPY | F.PRE_COPY,
    S.PRE_COPY_P2P: F.STOP_COPY | F.PRE_COPY | F.P2P,
}

SAVING = frozenset({S.STOP_COPY, S.PRE_COPY, S.PRE_COPY_P2P})
"""States in which a data_fd gives state; a change among them keeps the data_fd."""

RUNNING = frozenset({S.RUNNING, S.RUNNING_P2P, S.PRE_COPY, S.PRE_COPY_P2P})
"""States in which a device may write to the guest's RAM."""


def is_supported(state: S, flags: F) -> bool:
    """Whether a device with ``flags`` has ``state``."""
    return state in _NEEDS and _NEEDS[state] & flags == _NEEDS[state]


def path(current: S, wanted: S, flags: F) -> tuple[S, ...] | None:
    """The states after ``current`` on the path to ``wanted``; None if it is not allowed.

    Empty if nothing changes.  If this is None, the kernel answers EINVAL.
    """
    if not is_supported(wanted, flags) or current not in NEXT:
        return None
    walked: list[S] = []
    while current is not wanted:
        step = NEXT[current][wanted]
        while step is not S.ERROR and not is_supported(step, flags):
            step = NEXT[step][wanted]
        if step is S.ERROR:
            return None
        walked.append(step)
        current = step
    return tuple(walked)
