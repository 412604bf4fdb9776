"""How the migration ended on each side, how both processes ended, and what was said.

A side's migration status is seen as MIGRATION events and as answers to query-migrate
(``MigrationStatus`` in qapi/migration.json).  The destination's RESUME comes when all
state has been loaded, a moment before its status says so; a guest that arrives paused is not
resumed.

**Deadline.**  Once the harness has given up (``deadline``) it asks, and ends both QEMUs: what they
and their devices do from then on is its own doing and no evidence of anything.
``until_deadline`` leaves it out for all rules.  What stays is what the harness itself recorded
then: answers to its questions, what a device holds, the ends of processes.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from harness.check import words
from harness.history.records import Kind, Record, Side
from harness.scenario.action_plan import Execute, may_end

if TYPE_CHECKING:
    from harness.check.run import CheckedRun

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
"""Commands whose refusal is about the migration; others are the scenario's actions, or ask."""
_ANSWERS = ("execute", "return", "error")
_DOINGS = ("arc", "read", "write", "reset")


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
            if record.name == "stderr" and record.kind is Kind.PROCESS
            else record.t_ns <= deadline.t_ns or not _is_doing(record)
        )
    ]


def _is_deadline(record: Record) -> bool:
    return record.name == "deadline" and record.kind is Kind.SESSION


def _is_doing(record: Record) -> bool:
    """Whether a QEMU, its device or the relay did something."""
    match record.kind:
        case Kind.TRACE:
            return True
        case Kind.QMP:
            return record.name not in _ANSWERS
        case Kind.DEVICE:
            return record.name in _DOINGS
        case Kind.WIRE:
            return record.name != "delivered"  # a sum of what went out before
        case _:
            return False


def _lines_said_by(records: Iterable[Record], t_ns: int) -> set[int]:
    """Lines of standard error that were written by ``t_ns``: they are all recorded at the end.

    A line without a time belongs to the one before it.
    """
    found: set[int] = set()
    is_early = dict.fromkeys(PEERS, True)
    for record in records:
        if record.name == "stderr" and record.kind is Kind.PROCESS:
            if said_ns := words.stamp_ns(str(record.args.get("line", ""))):
                is_early[record.side] = said_ns <= t_ns
            if is_early[record.side]:
                found.add(id(record))
    return found


class Endings:
    """How one run ended; everything is looked up once."""

    def __init__(self, run: "CheckedRun") -> None:
        self._run = run
        self.deadline = _first(run.everywhere(Kind.SESSION, Side.HARNESS, "deadline"))
        self._qmp = {side: run.sequence(Kind.QMP, side) for side in PEERS}
        self._own_qmp = {
            side: [record for record in self._qmp[side] if self._is_before_deadline(record)]
            for side in PEERS
        }
        self.statuses = {side: tuple(_statuses(self._own_qmp[side])) for side in PEERS}
        """Each status with the record that told it."""
        self.launched = {side: _first(run.named(Kind.PROCESS, side, "launched")) for side in PEERS}
        self.exited = {side: _end(run, side) for side in PEERS}
        """The end of each process, or that it runs on into the next migration."""
        self.hung = tuple(
            record for side in PEERS for record in run.named(Kind.PROCESS, side, "hung")
        )
        self._resumed = _first(run.named(Kind.QMP, Side.DESTINATION, "RESUME"))
        self._of_actions = set(_refused_actions(run))
        self._stderr = {side: _lines(run, side) for side in PEERS}

    def status(self, side: Side) -> str:
        """The last status that ``side`` told; "": none."""
        told = self.statuses[side]
        last = told[-1][0] if told else ""
        if side is Side.DESTINATION and self._resumed is not None and last not in OVER:
            return "completed"
        return last

    def last_status(self, side: Side) -> Record | None:
        """The record that told it."""
        told = self.statuses[side]
        if told and (told[-1][0] in OVER or side is Side.SOURCE):
            return told[-1][1]
        return (
            self._resumed
            if side is Side.DESTINATION and self._resumed
            else (told[-1][1] if told else None)
        )

    @property
    def is_completed(self) -> bool:
        """Whether both sides say so."""
        return all(self.status(side) == "completed" for side in PEERS)

    def crash(self, side: Side) -> Record | None:
        """The process's end, if it was not the one that the harness had asked for, or that the
        scenario wanted.

        Asked for are status 0 and the signals that the harness itself sends.  An end after the
        deadline is none of its own: ``died_quitting``.
        """
        record = self._unexpected_end(side)
        return record if record is not None and self._is_before_deadline(record) else None

    def died_quitting(self, side: Side) -> Record | None:
        """The process's end by a signal that nobody sent, after the harness had given up."""
        record = self._unexpected_end(side)
        is_own = record is None or self._is_before_deadline(record) or not record.args["signal"]
        return None if is_own else record

    def _unexpected_end(self, side: Side) -> Record | None:
        record = self.exited[side]
        if record is None or record.name == "handed_over":
            return None
        signal, status = record.args.get("signal", 0), record.args.get("status", 0)
        is_expected = signal in (_SIGKILL, _SIGTERM) or (not signal and not status)
        is_asked = record.args.get("asked") or (
            not signal and not status and self._may_end_by_plan(side, record)
        )
        return None if is_asked and is_expected else record

    def _may_end_by_plan(self, side: Side, end: Record) -> bool:
        """Whether the scenario has done something to ``side`` that ends a QEMU with status 0."""
        done = self._run.named(Kind.SESSION, Side.HARNESS, "action")
        actions = [
            self._run.scenario.actions[record.args["position"]]
            for record in done
            if record.t_ns <= end.t_ns
        ]
        return any(
            isinstance(action, Execute) and action.target == side.value and may_end(action)
            for action in actions
        )

    def _is_before_deadline(self, record: Record) -> bool:
        return self.deadline is None or record.t_ns <= self.deadline.t_ns

    def commands(self, side: Side, command: str, name: str = "execute") -> list[Record]:
        """Records of the QMP command ``command``: its execute, return or error."""
        return [
            record
            for record in self._qmp[side]
            if record.name == name and record.args.get("command") == command
        ]

    def refusals(self, side: Side, command: str) -> list[Record]:
        """Errors that answer the harness's own ``command``, not that of an action."""
        errors = self.commands(side, command, "error")
        return [record for record in errors if id(record) not in self._of_actions]

    def quit_ns(self, side: Side) -> int | None:
        """When the harness told ``side`` to quit; None: it did not."""
        told = self.commands(side, "quit")
        return told[0].t_ns if told else None

    def texts(self, side: Side | None) -> list[tuple[Record, str]]:
        """Errors that ``side`` (None: both) reported in this migration: QMP's answers to its
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
        """What ``side`` said of a failure that came at ``since_ns``: neither what it said
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


def _refused_actions(run: "CheckedRun") -> Iterator[int]:
    """Errors with which QEMU refused an action, by ``id()``.

    An action may be a command that the harness has sent, too: a second ``migrate``.
    """
    begun = {r.args["position"]: r for r in run.named(Kind.SESSION, Side.HARNESS, "action")}
    for ended in run.named(Kind.SESSION, Side.HARNESS, "action_ended"):
        position = ended.args["position"]
        action = run.scenario.actions[position]
        if ended.args["how"] != "refused" or not isinstance(action, Execute):
            continue
        for record in run.named(Kind.QMP, Side(action.target), "error"):
            is_meanwhile = begun[position].t_ns <= record.t_ns <= ended.t_ns
            is_same = record.args.get("desc") == ended.args.get("desc")
            if is_meanwhile and is_same and record.args.get("command") == action.command:
                yield id(record)


def _lines(run: "CheckedRun", side: Side) -> list[tuple[Record, str]]:
    """Lines of stderr; of a QEMU that an earlier migration has handed over, those since then."""
    records = run.named(Kind.PROCESS, side, "stderr")
    pairs = [(record, str(record.args.get("line", ""))) for record in records]
    continued = run.named(Kind.SESSION, Side.HARNESS, "continued")
    if not continued or side is not Side.SOURCE:
        return pairs
    return [
        pair
        for pair in pairs
        if (words.stamp_ns(pair[1]) or continued[0].t_ns) >= continued[0].t_ns
    ]


def _end(run: "CheckedRun", side: Side) -> Record | None:
    ends = [run.named(Kind.PROCESS, side, name) for name in ("exited", "handed_over")]
    return next((_last(records) for records in ends if records), None)


def _statuses(records: Sequence[Record]) -> list[tuple[str, Record]]:
    found = []
    for record in records:
        if record.name == "MIGRATION":
            found.append((str(record.args["status"]), record))
        elif record.name == "return" and record.args.get("command") == "query-migrate":
            value = record.args.get("value")
            if isinstance(value, dict) and "status" in value:
                found.append((str(value["status"]), record))
    return found


def _first(records: Sequence[Record]) -> Record | None:
    return records[0] if records else None


def _last(records: Sequence[Record]) -> Record | None:
    return records[-1] if records else None
