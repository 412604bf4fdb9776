"""Arcs of devices that fail, or give the wrong data_fd: which of them a migration comes to."""

from collections.abc import Iterator

from harness.history.records import Side
from harness.scenario import (
    EmulatedDevice,
    Given,
    MigrationState,
    RefusedArc,
    Scenario,
    WrongDataFd,
)


def failing(scenario: Scenario) -> Iterator[Side]:
    """The side of each arc that must fail the migration (ARC-1, ARC-2)."""
    for device in scenario.emulated:
        for arc in device.refuses:
            if _is_asked_for(device, arc):
                yield Side(arc.side)
        for wrong in device.data_fds:
            if _must_notice(device, wrong):
                yield Side(wrong.side)


def unknown(scenario: Scenario) -> Iterator[str]:
    """What a device does at arcs that a migration need not take, or is not alone to take."""
    for number, device in enumerate(scenario.devices):
        if isinstance(device, EmulatedDevice):
            for wrong in device.data_fds:
                if not _must_notice(device, wrong):
                    what = f"{wrong.gives} data_fd for {wrong.to} at the {wrong.side}"
                    yield f"devices[{number}].data_fds: {what}"
            for arc in device.refuses:
                if not _is_asked_for(device, arc):
                    yield f"devices[{number}].refuses {arc.to} at the {arc.side}"


def _is_asked_for(device: EmulatedDevice, arc: RefusedArc) -> bool:
    """Whether each migration asks ``device`` for the state at the end of ``arc``, and nothing else
    on this side does: vfio_save_setup(), vfio_save_complete_precopy() and vfio_load_setup().
    """
    asked = {
        "source": {MigrationState.STOP_COPY}
        | ({MigrationState.PRE_COPY} if device.pre_copy else set()),
        "destination": {MigrationState.RESUMING},
    }
    return arc.to in asked[arc.side]


def _must_notice(device: EmulatedDevice, wrong: WrongDataFd) -> bool:
    """Whether each migration comes to the wrong data_fd, and cannot work with it.

    One that is missing is needed to move the state.  An extra one is a second one in pre-copy.
    Without pre-copy it comes before the real one, so that this is the second.  Extra ones for
    RUNNING_P2P and RUNNING come with no migration too.
    """
    to = MigrationState
    if wrong.side == "destination":
        return wrong.gives is Given.NONE and wrong.to is to.RESUMING and device.total_size > 0
    if wrong.gives is Given.NONE:
        return wrong.to is (to.PRE_COPY if device.pre_copy else to.STOP_COPY)
    return wrong.to in ((to.STOP_COPY,) if device.pre_copy else (to.STOP,))
