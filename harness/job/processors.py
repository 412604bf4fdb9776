"""How many processors this process may use, and how many runs keep them busy."""

import math
import os
from collections.abc import Iterable
from pathlib import Path

from harness.scenario import Scenario

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


_RUNS_EACH = 2
_MOST = 16
"""QEMUs need memory, too."""


def runs_at_once(scenarios: Iterable[Scenario]) -> int:
    """How many runs to make at the same time.

    A run computes about half of its time, and waits for an answer, a timer or a standstill in the
    other.  A guest that runs always computes; a device of the kernel may be one that there is only
    once, and the rig is slow.  Only one run at a time can have a device of an address.
    """
    scenarios = tuple(scenarios)
    taken = [
        address
        for scenario in scenarios
        for address in {each for device in scenario.devices for each in device.addresses}
    ]
    if len(set(taken)) < len(taken):
        return 1
    one_each = any(
        scenario.guest is not None or any(device.is_kernel for device in scenario.devices)
        for scenario in scenarios
    )
    return processors() if one_each else max(processors(), min(_RUNS_EACH * processors(), _MOST))


def processors() -> int:
    """Those that it may run on, or fewer where a control group limits its time, as a container
    does.
    """
    return max(1, min([len(os.sched_getaffinity(0)), *_limits()]))


def _limits() -> list[int]:
    """Of its control group and those around it (cgroups(7), version 2); rounded up."""
    found: list[int] = []
    try:
        own = _OWN.read_text()
    except OSError:
        return found
    path = next((line[3:] for line in own.splitlines() if line.startswith("0::")), "/")
    group = _CGROUPS / path.lstrip("/")
    for each in (group, *group.parents):
        try:
            quota, period = (each / "cpu.max").read_text().split()
            found.append(math.ceil(int(quota) / int(period)))
        except (OSError, ValueError):  # no limit is "max"
            continue
    return found
