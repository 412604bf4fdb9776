"""SYNTHETIC histories of migrations with a guest that tells rounds on its console."""

from harness.history.guest import Ready, Round
from harness.history.records import Record
from harness.history.rundir import History
from harness.scenario import EmulatedDevice, Scenario
from harness.scenario.guest_plan import LINUX_RAM_MIB, Guest
from tests.twins.damage import pick
from tests.unit.check.story import DST, MS, SRC, history, scenario


def guest_scenario(*devices: EmulatedDevice, **fields) -> Scenario:
    return scenario(*devices, **{"guest": Guest(), "ram_mib": LINUX_RAM_MIB, **fields})


def told(run: History, side, number: int, *, at: int, memory: str = "good", **devices) -> Record:
    """A round; ``devices`` are those that are not good."""
    good = {device.id: "good" for device in run.scenario.devices}
    args = Round(round=number, memory=memory, devices={**good, **devices})
    return Record.of(at, side, args)


def with_guest(run: History, *more: Record) -> History:
    """``run`` with a guest that told rounds 0 to 3 at the source and 4 to 9 at the destination."""
    began = pick(run.records, "execute", command="migrate")[0].t_ns
    ended = next(r.t_ns for r in run.records if r.name == "RESUME")
    rounds = [told(run, SRC, n, at=began + n) for n in range(4)]
    rounds += [told(run, DST, n, at=ended + 1 + n) for n in range(4, 10)]
    ready = Ready(memory_kib=4096, devices=[device.id for device in run.scenario.devices])
    up = Record.of(began - MS, SRC, ready)
    return history(run.scenario, [*run.records, up, *rounds, *more])
