"""The **evidence**: one run, made ready for the rules.

``Seen`` is the history, grouped once, so that each rule reads its part only; the groups keep the
history's order.  ``Endings`` is how the migration and both processes ended.  ``Evidence`` adds
what must follow.

**Status.**  A side's migration status is seen as MIGRATION events and as answers to query-migrate
(``MigrationStatus`` in qapi/migration.json).  The destination's RESUME comes when all
state has been loaded, a moment before its status says so; a guest that arrives paused is not
resumed.

**Deadline.**  Once the harness has given up (``deadline``) it asks, and ends both QEMUs: what they
and their devices do from then on is its own doing and no evidence of anything.
``until_deadline`` leaves it out for all rules.  What stays is what the harness itself recorded
then: answers to its questions, what a device holds, the ends of processes.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar, cast

from harness.check import words
from harness.history import process, session, wire
from harness.history.by_type import ByType
from harness.history.device import Arc, Read, Reset, Write
from harness.history.records import Event, Kind, Record, Side
from harness.history.rundir import History, Manifest
from harness.model.expectation import Expectation
from harness.model.prediction import Prediction
from harness.scenario import Device, Scenario
from harness.scenario.action_plan import Execute, may_end

INCOMING = "vfio_load_state_device_buffer_incoming"
STARVED = "vfio_load_state_device_buffer_starved"
LOAD_START = "vfio_load_state_device_buffer_load_start"
LOAD_END = "vfio_load_state_device_buffer_load_end"
BUFFERS_END = "vfio_load_state_device_buffer_end"
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

PEERS = (Side.SOURCE, Side.DESTINATION)
OVER = frozenset({"completed", "failed", "cancelled"})
_SIGKILL, _SIGTERM = 9, 15
_OF_MIGRATION = frozenset(
    {
        "migrate",
        "migrate-incoming",
        "migrate-set-capabilities",
        "migrate-set-parameters",
        "object-add",
    }
)
"""Commands whose refusal is about the migration; others are the scenario's actions, or query."""
_ANSWERS = ("execute", "return", "error")

Key = tuple[Kind, Side, str]
T = TypeVar("T")


@dataclass(slots=True)
class Reception:
    """One device's packets and loads at the destination."""

    incoming: dict[int, Event] = field(default_factory=dict)
    """First incoming record of each index."""
    repeated: list[Event] = field(default_factory=list)
    """Incoming records of an index that had come in before."""
    starts: dict[int, Event] = field(default_factory=dict)
    ends: dict[int, Event] = field(default_factory=dict)

    @property
    def highest(self) -> int:
        """Highest index that came in; -1 if none did."""
        return max(self.incoming, default=-1)


class Seen:
    """What was seen of one run, ready to be looked up.

    What came of the harness's own doing after a deadline is not among the records.
    """

    def __init__(self, history: History) -> None:
        self.scenario: Scenario = history.scenario
        self.manifest: Manifest = history.manifest
        self._records = history.records
        self._groups: dict[Key, list[Record]] = defaultdict(list)
        self._names: dict[Key, dict[str, list[Event]]] = {}
        self._receptions: dict[str, Reception] = {}
        records = until_deadline(history.records)
        for record in records:
            self._groups[record.kind, record.side, record.device].append(record)
        self.of = ByType(records).of
        """Records of the typed kinds, by what they hold."""

    # -- records ---------------------------------------------------------------------

    def sequence(self, kind: Kind, side: Side, device: str = "") -> Sequence[Record]:
        """All records of one kind about one device, in order; if it is empty, about none."""
        return self._groups.get((kind, side, device), ())

    def trace(self, side: Side, name: str, device: str = "") -> Sequence[Event]:
        """Records of the trace event ``name`` about one device; if it is empty, about none."""
        return self._named(Kind.TRACE, side, name, device)

    def qmp(self, side: Side, name: str, device: str = "") -> Sequence[Event]:
        """Records of the monitor of ``side`` with ``name``, about one device or none."""
        return self._named(Kind.QMP, side, name, device)

    def events(self, kind: Kind, side: Side, device: str = "") -> Sequence[Event]:
        """All records of trace or monitor about one device, in order."""
        return cast("Sequence[Event]", self.sequence(kind, side, device))

    def traced_devices(self, side: Side, name: str) -> list[str]:
        """Devices with a record of the trace event ``name``; "" among them if one is about none."""
        keys = [key for key in self._groups if key[:2] == (Kind.TRACE, side)]
        return [key[2] for key in keys if self.trace(side, name, key[2])]

    def _named(self, kind: Kind, side: Side, name: str, device: str) -> Sequence[Event]:
        key = kind, side, device
        if key not in self._names:
            by_name: dict[str, list[Event]] = defaultdict(list)
            for record in self.events(kind, side, device):
                by_name[record.name].append(record)
            self._names[key] = by_name
        return self._names[key].get(name, ())

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
        """Index of the device's configuration: the last that is needed; -1 if it is not known.

        On the wire it is flagged; without a relay it is the highest that came in.
        """
        flagged = [
            record.args.idx
            for record in self.of(wire.PacketOut, device=device)
            if record.args.marker is not None and record.args.idx is not None
        ]
        return min(flagged) if flagged else self.reception(device).highest

    @property
    def total(self) -> int:
        """How many records there are."""
        return len(self._records)

    def was_awake(self, since_ns: int, until_ns: int) -> bool:
        """Whether anything at all was recorded in between.

        If not, the machine may have been suspended.
        """
        at = bisect_right(self._records, since_ns, key=lambda record: record.t_ns)
        return at < len(self._records) and self._records[at].t_ns < until_ns

    @cached_property
    def endings(self) -> "Endings":
        """How the migration and both processes ended."""
        return Endings(self)

    @property
    def devices(self) -> Iterator[Device]:
        """The scenario's devices."""
        return iter(self.scenario.devices)


class Evidence(Seen):
    """What the rules judge: what was seen of a run, and what must follow.

    :ivar expectation: how it must end; where faults were on the way, by the prediction
    :ivar prediction: what must follow from what was delivered; None if no fault changed that
    :ivar delivered: the packets that it is made from, by their numbers
    """

    def __init__(
        self,
        seen: Seen,
        expectation: Expectation,
        prediction: Prediction | None = None,
        delivered: tuple[Record[wire.Packet], ...] = (),
    ) -> None:
        vars(self).update(vars(seen))  # its groups: nothing is looked up twice
        self.expectation = expectation
        self.prediction = prediction
        self.delivered = delivered

    @cached_property
    def multifd_devices(self) -> list[str]:
        """Ids of the devices whose state must go over multifd."""
        return [device.id for device in self.expectation.multifd_devices]


class Endings:
    """How one run ended; everything is looked up once."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self.deadline = _first(seen.of(session.Deadline))
        self._qmp = {side: seen.events(Kind.QMP, side) for side in PEERS}
        self._own_qmp = {
            side: [record for record in self._qmp[side] if self._is_before_deadline(record)]
            for side in PEERS
        }
        self.statuses = {side: tuple(_statuses(self._own_qmp[side])) for side in PEERS}
        """Each status with the record that reported it."""
        self.launched = {side: _first(seen.of(process.Launched, side)) for side in PEERS}
        self.exited = {side: _last(seen.of(process.Exited, side)) for side in PEERS}
        """The end of each process."""
        self.ended: dict[Side, Record | None] = {
            side: self.exited[side] or _last(seen.of(process.HandedOver, side)) for side in PEERS
        }
        """The same, or that it runs on into the next migration."""
        self.hung = tuple(record for side in PEERS for record in seen.of(process.Hung, side))
        self._resumed = _first(seen.qmp(Side.DESTINATION, "RESUME"))
        self._of_actions = set(_refused_actions(seen))
        self._stderr = {side: _lines(seen, side) for side in PEERS}

    def status(self, side: Side) -> str:
        """The last status that ``side`` reported; empty if none."""
        seen = self.statuses[side]
        last = seen[-1][0] if seen else ""
        if side is Side.DESTINATION and self._resumed is not None and last not in OVER:
            return "completed"
        return last

    def last_status(self, side: Side) -> Record | None:
        """The record that reported it."""
        seen = self.statuses[side]
        if seen and (seen[-1][0] in OVER or side is Side.SOURCE):
            return seen[-1][1]
        return (
            self._resumed
            if side is Side.DESTINATION and self._resumed
            else (seen[-1][1] if seen else None)
        )

    @property
    def is_completed(self) -> bool:
        """Whether both sides report it."""
        return all(self.status(side) == "completed" for side in PEERS)

    def crash(self, side: Side) -> Record[process.Exited] | None:
        """The process's end, if it was not the one that the harness had requested, or that the
        scenario wanted.

        Requested are status 0 and the signals that the harness itself sends.  An end after the
        deadline is none of its own: ``died_quitting``.
        """
        record = self._unexpected_end(side)
        return record if record is not None and self._is_before_deadline(record) else None

    def died_quitting(self, side: Side) -> Record[process.Exited] | None:
        """The process's end by a signal that was not sent to it, after the harness had given up."""
        record = self._unexpected_end(side)
        is_own = record is None or self._is_before_deadline(record) or not record.args.signal
        return None if is_own else record

    def _unexpected_end(self, side: Side) -> Record[process.Exited] | None:
        record = self.exited[side]
        if record is None:
            return None
        signal, status = record.args.signal, record.args.status
        is_expected = signal in (_SIGKILL, _SIGTERM) or (not signal and not status)
        is_asked = record.args.asked or (
            not signal and not status and self._may_end_by_plan(side, record)
        )
        return None if is_asked and is_expected else record

    def _may_end_by_plan(self, side: Side, end: Record) -> bool:
        """Whether the scenario has done something to ``side`` that ends a QEMU with status 0."""
        done = self._seen.of(session.Action)
        actions = [
            self._seen.scenario.actions[record.args.position]
            for record in done
            if record.t_ns <= end.t_ns
        ]
        return any(
            isinstance(action, Execute) and action.target == side.value and may_end(action)
            for action in actions
        )

    def _is_before_deadline(self, record: Record) -> bool:
        return self.deadline is None or record.t_ns <= self.deadline.t_ns

    def commands(self, side: Side, command: str, name: str = "execute") -> list[Event]:
        """Records of the QMP command ``command``: its execute, return or error."""
        return [
            record
            for record in self._qmp[side]
            if record.name == name and record.args.get("command") == command
        ]

    def refusals(self, side: Side, command: str) -> list[Event]:
        """Errors that answer the harness's own ``command``, not that of an action."""
        errors = self.commands(side, command, "error")
        return [record for record in errors if id(record) not in self._of_actions]

    def quit_ns(self, side: Side) -> int | None:
        """When the harness asked ``side`` to quit; None if it did not."""
        quits = self.commands(side, "quit")
        return quits[0].t_ns if quits else None

    def texts(self, side: Side | None) -> list[tuple[Record, str]]:
        """Errors that ``side`` (both if None) reported in this migration: QMP's answers to its
        commands, error-desc, and the lines of stderr that are no warnings.
        """
        found = []
        for peer in PEERS if side is None else (side,):
            found += list(self._errors(peer))
            found += [pair for pair in self._stderr[peer] if not words.is_warning(pair[1])]
        return found

    def warnings(self, side: Side) -> list[tuple[Record, str]]:
        """Warnings on the stderr of ``side`` in this migration."""
        return [pair for pair in self._stderr[side] if words.is_warning(pair[1])]

    def errors_since(self, side: Side, since_ns: int) -> words.Errors:
        """What ``side`` reported of a failure that came at ``since_ns``: neither what it reported
        before, nor its warnings.
        """
        found, latest_ns = words.Errors([], []), 0
        for record, text in self.texts(side):
            at_ns = record.t_ns
            if record.kind is Kind.PROCESS:
                stamp_ns = words.stamp_ns(text)
                latest_ns = max(latest_ns, stamp_ns or 0)
                at_ns = (latest_ns if stamp_ns is None else stamp_ns) + words.STAMP_PRECISION_NS
                if stamp_ns is None and at_ns <= since_ns:
                    found.possible.append((record, text))
            if text and at_ns >= since_ns:
                found.certain.append((record, text))
        return found

    def _errors(self, side: Side) -> Iterator[tuple[Record, str]]:
        """What its monitor has answered.  After the deadline only why it had failed before."""
        has_failed = self.status(side) in ("failed", "cancelled", "failing")
        for record in self._qmp[side]:
            if not self._is_before_deadline(record) and not has_failed:
                return
            is_own = (
                record.args.get("command") in _OF_MIGRATION and id(record) not in self._of_actions
            )
            if record.name == "error" and is_own and self._is_before_deadline(record):
                yield record, str(record.args.get("desc", ""))
            value = record.args.get("value")
            if record.name == "return" and isinstance(value, dict) and "error-desc" in value:
                yield record, str(value["error-desc"])


def _refused_actions(seen: Seen) -> Iterator[int]:
    """Errors with which QEMU refused an action, by ``id()``.

    An action may be a command that the harness has sent, too: a second ``migrate``.
    """
    begun = {record.args.position: record for record in seen.of(session.Action)}
    for ended in seen.of(session.ActionEnded):
        position = ended.args.position
        action = seen.scenario.actions[position]
        if ended.args.how != "refused" or not isinstance(action, Execute):
            continue
        for record in seen.qmp(Side(action.target), "error"):
            is_meanwhile = begun[position].t_ns <= record.t_ns <= ended.t_ns
            is_same = record.args.get("desc") == ended.args.desc
            if is_meanwhile and is_same and record.args.get("command") == action.command:
                yield id(record)


def _lines(seen: Seen, side: Side) -> list[tuple[Record, str]]:
    """Lines of stderr; of a QEMU that an earlier migration has handed over, those since then."""
    pairs: list[tuple[Record, str]] = [
        (record, record.args.line) for record in seen.of(process.Stderr, side)
    ]
    continued = seen.of(session.Continued)
    if not continued or side is not Side.SOURCE:
        return pairs
    return [
        pair
        for pair in pairs
        if (words.stamp_ns(pair[1]) or continued[0].t_ns) >= continued[0].t_ns
    ]


def _statuses(records: Sequence[Event]) -> list[tuple[str, Record]]:
    found = list[tuple[str, Record]]()
    for record in records:
        if record.name == "MIGRATION":
            found.append((str(record.args["status"]), record))
        elif record.name == "return" and record.args.get("command") == "query-migrate":
            value = record.args.get("value")
            if isinstance(value, dict) and "status" in value:
                found.append((str(value["status"]), record))
    return found


def _first(records: Sequence[T]) -> T | None:
    return records[0] if records else None


def _last(records: Sequence[T]) -> T | None:
    return records[-1] if records else None


def until_deadline(records: Sequence[Record]) -> list[Record]:
    """``records`` without what came of the harness's own doing, once it had given up."""
    deadline = next((r for r in records if _is_deadline(r)), None)
    if deadline is None:
        return list(records)
    said = _lines_said_by(records, deadline.t_ns)
    return [
        record
        for record in records
        if (
            id(record) in said
            if isinstance(record.args, process.Stderr)
            else record.t_ns <= deadline.t_ns or not _is_doing(record)
        )
    ]


def _is_deadline(record: Record) -> bool:
    return isinstance(record.args, session.Deadline)


def _is_doing(record: Record) -> bool:
    """Whether a QEMU, its device or the relay did something."""
    match record.kind:
        case Kind.TRACE:
            return True
        case Kind.QMP:
            return record.name not in _ANSWERS
        case Kind.DEVICE:
            return isinstance(record.args, Arc | Read | Write | Reset)
        case Kind.WIRE:
            # That is a sum of what went out before.
            return not isinstance(record.args, wire.Delivered)
        case _:
            return False


def _lines_said_by(records: Iterable[Record], t_ns: int) -> set[int]:
    """Lines of standard error that were written by ``t_ns``: they are all recorded at the end.

    A line without a time belongs to the one before it.
    """
    found: set[int] = set()
    is_early = dict.fromkeys(PEERS, True)
    for record in records:
        if isinstance(record.args, process.Stderr):
            if said_ns := words.stamp_ns(record.args.line):
                is_early[record.side] = said_ns <= t_ns
            if is_early[record.side]:
                found.add(id(record))
    return found
