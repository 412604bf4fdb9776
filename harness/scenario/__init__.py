"""What to run, as plain frozen data that round-trips to JSON.

``scenario`` has the :class:`Scenario`, ``devices``, ``fault_plan``, ``action_plan`` and
``guest_plan`` what it consists of, ``main_job`` the scenarios that ``vfio-multifd run`` runs
when it is given none.  Nothing here opens a device, starts a process or judges anything.
"""

from harness.scenario.devices import (
    KINDS,
    MIB,
    MSIX_CAPABILITY_SIZE,
    SCRATCH_SIZE,
    Abilities,
    DataPath,
    Device,
    DeviceSpec,
    EmulatedDevice,
    Given,
    Lie,
    LoadBehaviour,
    MdevDevice,
    MigrationState,
    OnOffAuto,
    PciDevice,
    RefusedArc,
    SaveBehaviour,
    WrongDataFd,
)
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
    "EmulatedDevice",
    "Given",
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
