"""Histories of a few records with times in ms, for tests of figures and drawings."""

from harness.history import Body, Kind, Record, Side
from harness.history.builds import BuildFacts
from harness.history.device import Arc
from harness.history.process import Memory
from harness.history.rundir import History, Manifest
from harness.history.wire import Fault, PacketIn, PacketOut
from harness.scenario import EmulatedDevice, Scenario

MS = 10**6
START = 10**18
BUILD = BuildFacts(path="/qemu", version=(10, 0, 0), version_text="10.0.0")
BUFFER = "vfio_load_state_device_buffer_"
CONFIG = "vfio_load_device_config_state_"


def at(ms, name, kind=Kind.TRACE, side=Side.DESTINATION, device="", channel=-1, **args):
    """A trace or QMP record, so many ms after the start of the run."""
    tid = 7 if kind is Kind.TRACE else 0
    return Record(START + int(ms * MS), side, kind, name, args, device, tid, channel)


def of(ms, side, body: Body, device="", channel=-1):
    """A record that holds ``body``, so many ms after the start of the run."""
    return Record.of(START + int(ms * MS), side, body, device, channel)


def buffer(ms, event, idx, channel=-1, device="vfio0"):
    """A trace event of the destination about packet ``idx``."""
    return at(ms, f"{BUFFER}{event}", device=device, channel=channel, idx=idx)


def _packet(kind, ms, idx, channel, size, state_flags):
    body = kind(idx=idx, state_flags=state_flags, instance_id=0, size=size, digest="")
    return of(ms, Side.HARNESS, body, "vfio0", channel)


def packet_in(ms, idx, channel=0, size=0, state_flags=0):
    """The relay has received packet ``idx`` from the source."""
    return _packet(PacketIn, ms, idx, channel, size, state_flags)


def packet_out(ms, idx, channel=0, size=0, state_flags=0):
    """The relay has sent packet ``idx`` to the destination."""
    return _packet(PacketOut, ms, idx, channel, size, state_flags)


def fault(ms, idx, what, fault="drop", channel=0):
    """The first fault of the plan has changed packet ``idx``."""
    body = Fault(fault=fault, position=0, what=what, idx=idx)
    return of(ms, Side.HARNESS, body, "vfio0", channel)


def qmp(ms, side, name, **args):
    return at(ms, name, Kind.QMP, side, **args)


def arc(ms, side, *path):
    return of(ms, side, Arc(state=path[-1], path=list(path), errno=0), "vfio0")


def memory(ms, side=Side.DESTINATION, *, hwm_kib, rss_kib=None):
    return of(ms, side, Memory(hwm_kib=hwm_kib, rss_kib=rss_kib))


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
    """A run with ``count`` packets in turn; the load thread waited for each."""
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
