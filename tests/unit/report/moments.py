"""Histories of a few records with times in ms, for tests of what draws them."""

from harness.history import Kind, Record, Side
from harness.history.builds import BuildFacts
from harness.history.rundir import History, Manifest
from harness.scenario import EmulatedDevice, Scenario

MS = 10**6
START = 10**18
BUILD = BuildFacts(path="/qemu", version=(10, 0, 0), version_text="10.0.0")
BUFFER = "vfio_load_state_device_buffer_"
CONFIG = "vfio_load_device_config_state_"


def at(ms, name, kind=Kind.TRACE, side=Side.DESTINATION, device="", channel=-1, **args):
    """Something that was seen so many ms after the run's start."""
    tid = 7 if kind is Kind.TRACE else 0
    return Record(START + int(ms * MS), side, kind, name, args, device, tid, channel)


def buffer(ms, event, idx, channel=-1, device="vfio0"):
    """What the destination's trace tells of packet ``idx``."""
    return at(ms, f"{BUFFER}{event}", device=device, channel=channel, idx=idx)


def wire(ms, name, idx, channel=0, **args):
    """What the relay tells of packet ``idx``."""
    return at(ms, name, Kind.WIRE, Side.SOURCE, "vfio0", channel, idx=idx, **args)


def qmp(ms, side, name, **args):
    return at(ms, name, Kind.QMP, side, **args)


def arc(ms, side, *path):
    return at(ms, "arc", Kind.DEVICE, side, "vfio0", state=path[-1], path=list(path), errno=0)


def memory(ms, side=Side.DESTINATION, **args):
    return at(ms, "memory", Kind.PROCESS, side, **args)


def run(*records, devices=("vfio0",), ended_ms=1000, **scenario):
    """The history of these records."""
    wanted = Scenario(
        name="made", devices=tuple(EmulatedDevice(id=name) for name in devices), **scenario
    )
    manifest = Manifest(
        harness="0", scenario="made", started_ns=START, ended_ns=START + ended_ms * MS,
        source=BUILD, destination=BUILD, complete=True,
    )  # fmt: skip
    return History(wanted, manifest, sorted(records, key=lambda record: record.t_ns))


def loaded(count, *, step_ms=0.1, channels=4):
    """A run in which so many packets came, one after the other, and each was waited for."""
    records = []
    for idx in range(count):
        ms = idx * step_ms
        records += [
            buffer(ms, "starved", idx),
            buffer(ms + step_ms * 0.2, "incoming", idx, channel=idx % channels),
            buffer(ms + step_ms * 0.4, "load_start", idx),
            buffer(ms + step_ms * 0.8, "load_end", idx),
        ]
    return run(*records)
