"""A history made ready for the rules: grouped once, so that each rule reads its part only.

The groups keep the history's order.  ``Reception`` is one device's packets and loads as
the destination's trace tells them, keyed by index.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from harness.check.endings import Endings, until_deadline
from harness.history.records import Kind, Record, Side
from harness.history.rundir import History, Manifest
from harness.model.expectation import Expectation
from harness.model.prediction import Prediction
from harness.scenario import Device, Scenario

INCOMING = "vfio_load_state_device_buffer_incoming"
STARVED = "vfio_load_state_device_buffer_starved"
LOAD_START = "vfio_load_state_device_buffer_load_start"
LOAD_END = "vfio_load_state_device_buffer_load_end"
THREAD_START = "vfio_load_bufs_thread_start"
THREAD_END = "vfio_load_bufs_thread_end"
CONFIG_START = "vfio_load_device_config_state_start"
CONFIG_END = "vfio_load_device_config_state_end"
MAIN_DATA = "vfio_load_state_device_data"
SAVE_SETUP = "vfio_save_setup"
SAVE_BLOCK = "vfio_save_block"
SAVE_THREAD_START = "vfio_save_complete_precopy_thread_start"
SAVE_THREAD_END = "vfio_save_complete_precopy_thread_end"
SAVE_MAIN_START = "vfio_save_complete_precopy_start"
"""Trace events of hw/vfio/trace-events; the same from QEMU 10.0 to 11.1."""

Key = tuple[Kind, Side, str]


@dataclass(slots=True)
class Reception:
    """One device's packets and loads at the destination."""

    incoming: dict[int, Record] = field(default_factory=dict)
    """First incoming record of each index."""
    repeated: list[Record] = field(default_factory=list)
    """Incoming records of an index that had come in before."""
    starts: dict[int, Record] = field(default_factory=dict)
    ends: dict[int, Record] = field(default_factory=dict)

    @property
    def highest(self) -> int:
        """Highest index that came in; -1: none did."""
        return max(self.incoming, default=-1)


class CheckedRun:
    """One run, as the rules see it.

    :ivar expectation: how it must end; where faults were on the way, by the prediction
    :ivar prediction: what must follow from what was delivered; None: no faults were on the way
    :ivar delivered: the packets that it is made from, by their numbers

    What came of the harness's own doing after a deadline is not among the records.
    """

    def __init__(self, history: History, expectation: Expectation) -> None:
        self.scenario: Scenario = history.scenario
        self.manifest: Manifest = history.manifest
        self.expectation = expectation
        self.prediction: Prediction | None = None
        self.delivered: tuple[Record, ...] = ()
        self._records = history.records
        records = until_deadline(history.records)
        self._groups: dict[Key, list[Record]] = defaultdict(list)
        groups = self._groups
        for record in records:
            groups[record.kind, record.side, record.device].append(record)
        self._names: dict[Key, dict[str, list[Record]]] = {}
        self._wire: dict[tuple[str, str | None], list[Record]] = defaultdict(list)
        for record in records:
            if record.kind is Kind.WIRE:
                self._wire[record.name, None].append(record)
                self._wire[record.name, record.device].append(record)
        self._receptions: dict[str, Reception] = {}

    # -- records ---------------------------------------------------------------------

    def sequence(self, kind: Kind, side: Side, device: str = "") -> Sequence[Record]:
        """All records of one kind about one device, in order; "": about none."""
        return self._groups.get((kind, side, device), ())

    def named(self, kind: Kind, side: Side, name: str, device: str = "") -> Sequence[Record]:
        """Those of them with ``name``."""
        key = kind, side, device
        if key not in self._names:
            by_name: dict[str, list[Record]] = defaultdict(list)
            for record in self._groups.get(key, ()):
                by_name[record.name].append(record)
            self._names[key] = by_name
        return self._names[key].get(name, ())

    def everywhere(self, kind: Kind, side: Side, name: str) -> list[Record]:
        """Records with ``name`` about any device or none, in order."""
        devices = self.devices_with(kind, side, name)
        found = [record for device in devices for record in self.named(kind, side, name, device)]
        return sorted(found, key=lambda record: record.t_ns)

    def devices_with(self, kind: Kind, side: Side, name: str) -> list[str]:
        """Devices that have a record with ``name``; "" if one is about none."""
        keys = [key for key in self._groups if key[:2] == (kind, side)]
        return [key[2] for key in keys if self.named(kind, side, name, key[2])]

    def trace(self, side: Side, name: str, device: str = "") -> Sequence[Record]:
        """Records of the trace event ``name`` about one device; "": about none."""
        return self.named(Kind.TRACE, side, name, device)

    def seen(self, device: str, name: str, side: Side) -> Sequence[Record]:
        """What the device itself saw (kind ``device``)."""
        return self.named(Kind.DEVICE, side, name, device)

    def wire(self, name: str, device: str | None = None) -> Sequence[Record]:
        """What the relay saw, in order: about one device, or (None) all of it."""
        return self._wire.get((name, device), ())

    def has_trace(self, side: Side) -> bool:
        """Whether there is any trace record of ``side``."""
        return any(key[:2] == (Kind.TRACE, side) for key in self._groups)

    # -- made from them --------------------------------------------------------------

    def reception(self, device: str) -> Reception:
        """The device's packets and loads at the destination."""
        if device not in self._receptions:
            found = self._receptions[device] = Reception()
            for record in self.trace(Side.DESTINATION, INCOMING, device):
                idx = record.args["idx"]
                if idx in found.incoming:
                    found.repeated.append(record)
                else:
                    found.incoming[idx] = record
            for record in self.trace(Side.DESTINATION, LOAD_START, device):
                found.starts.setdefault(record.args["idx"], record)
            for record in self.trace(Side.DESTINATION, LOAD_END, device):
                found.ends.setdefault(record.args["idx"], record)
        return self._receptions[device]

    def config_idx(self, device: str) -> int:
        """Index of the device's configuration: the last that is needed; -1: not known.

        On the wire it is flagged; without a relay it is the highest that came in.
        """
        flagged = [r.args["idx"] for r in self.wire("packet_out", device) if "marker" in r.args]
        return min(flagged) if flagged else self.reception(device).highest

    @property
    def total(self) -> int:
        """How many records there are."""
        return len(self._records)

    def was_awake(self, since_ns: int, until_ns: int) -> bool:
        """Whether anything at all was recorded in between.

        If not, the whole machine may have stood still.
        """
        at = bisect_right(self._records, since_ns, key=lambda record: record.t_ns)
        return at < len(self._records) and self._records[at].t_ns < until_ns

    @cached_property
    def endings(self) -> Endings:
        """How the migration and both processes ended."""
        return Endings(self)

    @property
    def devices(self) -> Iterator[Device]:
        """The scenario's devices."""
        return iter(self.scenario.devices)

    @cached_property
    def multifd_devices(self) -> list[str]:
        """Ids of the devices whose state must go over multifd."""
        return [device.id for device in self.expectation.multifd_devices]
