"""What QEMU does with the answers to VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2.

QEMU 11.1 and later set the feature when a device with pre-copy starts (vfio_migration_init() in
hw/vfio/migration.c).  ENOTTY is the answer of a kernel that does not have it, and no failure.  With
any other errno the device cannot migrate.
"""

import errno
from collections.abc import Iterator

from harness.history.builds import BuildFacts
from harness.scenario import Device, EmulatedDevice, Scenario

FAILED = "precopy info v2"
"""Of QEMU's error."""
_ASKS = (11, 1)


def fails(device: Device, facts: BuildFacts) -> bool:
    """Whether ``device`` cannot migrate in that QEMU, because it fails the feature."""
    return (
        isinstance(device, EmulatedDevice)
        and device.pre_copy
        and device.precopy_info_v2 not in (0, errno.ENOTTY)
        and facts.version >= _ASKS
    )


def not_known(scenario: Scenario, source: BuildFacts, destination: BuildFacts) -> Iterator[str]:
    """Devices that fail it at the destination only: that does not block the source."""
    for number, device in enumerate(scenario.devices):
        if fails(device, destination) and not fails(device, source):
            yield f"devices[{number}].precopy_info_v2 at the destination only"


def late(scenario: Scenario, source: BuildFacts) -> Iterator[EmulatedDevice]:
    """Devices with new initial bytes that may come when the switchover is decided.

    With switchover-ack the source must then fail, or go back to pre-copy (vfio_state_pending()).
    """
    if not scenario.capabilities.get("switchover-ack") or source.version < _ASKS:
        return
    for device in scenario.emulated:
        changes = [each for each in device.precopy_changes if each.initial_bytes is not None]
        if not device.precopy_info_v2 and any(each.may_come_late for each in changes):
            yield device
