"""What to run, as plain frozen data that round-trips to JSON.

``scenario`` has the :class:`Scenario`, ``devices``, ``fault_plan``, ``action_plan`` and
``guest_plan`` what it consists of, ``main_job`` the scenarios that ``vfio-multifd run`` runs
when it is given none.  Nothing here opens a device, starts a process or judges anything.
"""

from harness.scenario.device_spec import MIB, Abilities, DeviceSpec, OnOffAuto
from harness.scenario.devices import (
    KINDS,
    MSIX_CAPABILITY_SIZE,
    SCRATCH_SIZE,
    DataPath,
    Device,
    EmulatedDevice,
    Given,
    Lie,
    LoadBehaviour,
    MigrationState,
    RefusedArc,
    SaveBehaviour,
    WrongDataFd,
)
from harness.scenario.kernel_devices import DriverParameters, IvshmemDevice, MdevDevice, PciDevice
from harness.scenario.scenario import (
    LONGEST,
    MAX_CHANNELS,
    PENDING_TRACE,
    Scenario,
    Transport,
    from_json,
    load,
    to_json,
)
from harness.scenario.tls import MISMATCHES, TLS_TRACE, Tls, TlsMismatch

__all__ = [
    "KINDS",
    "LONGEST",
    "MAX_CHANNELS",
    "MIB",
    "MISMATCHES",
    "MSIX_CAPABILITY_SIZE",
    "PENDING_TRACE",
    "SCRATCH_SIZE",
    "TLS_TRACE",
    "Abilities",
    "DataPath",
    "Device",
    "DeviceSpec",
    "DriverParameters",
    "EmulatedDevice",
    "Given",
    "IvshmemDevice",
    "Lie",
    "LoadBehaviour",
    "MdevDevice",
    "MigrationState",
    "OnOffAuto",
    "PciDevice",
    "RefusedArc",
    "SaveBehaviour",
    "Scenario",
    "Tls",
    "TlsMismatch",
    "Transport",
    "WrongDataFd",
    "from_json",
    "load",
    "to_json",
]
