"""SYNTHETIC histories of migrations whose destination is given something else."""

from typing import Any

import msgspec

from harness.history.process import Launched, Stderr
from harness.history.rundir import History
from harness.scenario import Scenario
from tests.twins.damage import change, pick
from tests.unit.check.lives import Life, added
from tests.unit.check.story import DST, SRC, device, scenario

OTHER_MACHINE: dict[str, Any] = {"machine": "pc"}
OTHER_DEVICE: dict[str, Any] = {"devices": [{"id": "vfio0", "device_id": 1}]}
MACHINES = "Machine type received is 'pc-q35-10.0' and local is 'pc-i440fx-10.0'"
CONFIG = "qemu: VFIO_FD14: Failed to load device config space"


def refused_by_destination(scenario: Scenario, *said: str) -> History:
    """Both sides fail; the destination reports ``said``."""
    life = Life(scenario, ("setup", "active"))
    life.status(DST, "setup", "active", "failed")
    life.status(SRC, "failed")
    for line in said:
        life.put(DST, Stderr(line=line))
    life.qmp(SRC, "query-migrate", {"status": "failed", "error-desc": "Sibling indicated error 1"})
    life.qmp(DST, "query-migrate", {"status": "failed", "error-desc": "load of migration failed"})
    life.end("inmigrate")
    run = life.history()
    for side in (SRC, DST):
        run = _with_options(run, side)
        name = {"name": "VFIO_FD14"}
        (seen, *_) = pick(run.records, "vfio_migration_realize", side=side)
        run = added(run, msgspec.structs.replace(seen, args=name))
    return run


def _with_options(run: History, side: object) -> History:
    argv = ["qemu", "-device", "vfio-pci,id=vfio0,addr=0x2,fd=14"]
    (launched,) = pick(run.records, "launched", side=side)
    assert isinstance(launched.args, Launched)
    new = change(launched, argv=argv)
    return History(run.scenario, run.manifest, [new if r is launched else r for r in run.records])


SIDES = {
    "other machine": lambda: refused_by_destination(
        scenario(destination=OTHER_MACHINE), f"qemu: {MACHINES}"
    ),
    "other device": lambda: refused_by_destination(
        scenario(device(), destination=OTHER_DEVICE), CONFIG
    ),
}
"""Runs that keep the requirements."""
