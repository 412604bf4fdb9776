"""The figures of one run, which can be compared with those of another run.

A figure that was not recorded is None or missing.  Times are in ms.

- ``downtime``: from the source's STOP to the destination's RESUME, by the timestamps of the
  QMP events.  None if the destination did not run the guest.
- ``qemu_downtime``: the source's answer to ``query-migrate`` (``downtime``, in full ms:
  migration_downtime_end() of migration/migration.c).
- ``parts``: the parts of the downtime, by their ends (``measure.timeline``; needs the trace).
- ``throughput``: the state of all devices divided by the time from the first device's STOP_COPY to
  the end of the last configuration's load, in MiB/s, over multifd and over the main channel (needs
  the trace).  None if a device sends state in pre-copy: its time is not part of that time.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from harness.history import Kind, Record, Side, device, plain, process
from harness.history.by_type import ByType
from harness.history.rundir import History
from harness.measure.timeline import timeline

_MIB = 1 << 20
_CONFIG_END = "vfio_load_device_config_state_end"


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one run.

    :ivar channels: packets that arrived on each channel: its number, as text -> packets
    :ivar memory_kib: for each side the peak of its resident set (VmHWM), in KiB
    """

    downtime_ms: float | None = None
    qemu_downtime_ms: float | None = None
    parts_ms: dict[str, float] = {}
    total_ms: float | None = None
    """QEMU's ``total-time``."""
    device_bytes: int | None = None
    """Bytes of state that the source's devices returned."""
    throughput_mib_s: float | None = None
    channels: dict[str, int] = {}
    memory_kib: dict[str, int] = {}


def measured(history: History) -> Measured:
    """The figures of ``history``."""
    times = timeline(history)
    migrated = _answer(history.records)
    downtime, parts = None, {}
    if (down := times.downtime) is not None and down.resumed is Side.DESTINATION and down.end_ns:
        downtime = _ms(down.end_ns - down.begin_ns)
        parts = {
            part.what: _ms(part.end_ns - part.begin_ns)
            for part in down.parts
            if part.end_ns is not None
        }
    of = ByType(history.records).of
    sent = [record.args.bytes for record in of(device.Sent, Side.SOURCE)]
    return Measured(
        downtime_ms=downtime,
        qemu_downtime_ms=migrated.get("downtime"),
        parts_ms=parts,
        total_ms=migrated.get("total-time"),
        device_bytes=sum(sent) if sent else None,
        throughput_mib_s=_throughput(history, sum(sent)) if downtime is not None else None,
        channels={str(channel): len(came) for channel, came in times.channels.items()},
        memory_kib=_memory(history.records),
    )


def _ms(t_ns: int) -> float:
    return round(t_ns / 1e6, 3)


def _answer(records: Iterable[Record]) -> dict[str, Any]:
    """The source's last answer to ``query-migrate`` once the migration had completed."""
    found: dict[str, Any] = {}
    for record in records:
        if record.kind is not Kind.QMP or record.name != "return":
            continue
        args = plain(record)
        if record.side is Side.SOURCE and args.get("command") == "query-migrate":
            value = args.get("value")
            if isinstance(value, dict) and value.get("status") == "completed":
                found = value
    return found


def _throughput(history: History, size: int) -> float | None:
    """MiB/s.  None if the size or the time is not known."""
    devices = history.scenario.devices
    if any(device.precopy_size for device in devices):
        return None
    arcs = ByType(history.records).of(device.Arc, Side.SOURCE)
    begun = [record.t_ns for record in arcs if "STOP_COPY" in record.args.path]
    loaded = [
        record.t_ns
        for record in history.records
        if record.name == _CONFIG_END and record.side is Side.DESTINATION
    ]
    if not begun or not loaded or not size or max(loaded) <= min(begun):
        return None
    return round(size / _MIB / ((max(loaded) - min(begun)) / 1e9), 1)


def _memory(records: Iterable[Record]) -> dict[str, int]:
    found: dict[str, int] = {}
    for record in records:
        if isinstance(record.args, process.Memory):
            found[str(record.side)] = max(record.args.hwm_kib, found.get(str(record.side), 0))
    return found
