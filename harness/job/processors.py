"""How many processors this process may use."""

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


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
