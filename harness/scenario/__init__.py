"""What to run, as plain frozen data that round-trips to JSON.

``scenario`` has the :class:`Scenario` and its devices, ``fault_plan``, ``action_plan`` and
``guest_plan`` what it consists of, ``main_job`` the scenarios that ``vfio-multifd run`` runs
when it is given none.  Nothing here opens a device, starts a process or judges anything.
"""

from harness.scenario.scenario import (
    LONGEST,
    MAX_CHANNELS,
    MIB,
    MISMATCHES,
    PENDING_TRACE,
    SCRATCH_SIZE,
    TLS_TRACE,
    DataPath,
    Device,
    EmulatedDevice,
    Lie,
    LoadBehaviour,
    MdevDevice,
    OnOffAuto,
    PciDevice,
    SaveBehaviour,
    Scenario,
    Tls,
    TlsMismatch,
    Transport,
    from_json,
    has_mdev,
    load,
    to_json,
)

__all__ = [
    "LONGEST",
    "MAX_CHANNELS",
    "MIB",
    "MISMATCHES",
    "PENDING_TRACE",
    "SCRATCH_SIZE",
    "TLS_TRACE",
    "DataPath",
    "Device",
    "EmulatedDevice",
    "Lie",
    "LoadBehaviour",
    "MdevDevice",
    "OnOffAuto",
    "PciDevice",
    "SaveBehaviour",
    "Scenario",
    "Tls",
    "TlsMismatch",
    "Transport",
    "from_json",
    "has_mdev",
    "load",
    "to_json",
]
