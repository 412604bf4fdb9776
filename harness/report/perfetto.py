"""Export of one run to a trace that ui.perfetto.dev opens.

In the JSON format of Chrome's trace viewer (the "Trace Event Format"), which Perfetto
imports.  Its processes are the two QEMUs, the wire and the harness.  Its threads are QEMU's
own threads that wrote a trace line, and a row each for the migration status, the states, waits and
loads of each device, and the multifd channels.  Each record of the history is in it once, as an
instant or as an end of a slice; packets (``measure.timeline``) are slices and counters.

Times are microseconds since the start of the run, with ns as decimals.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from harness.history import Kind, Record, Side, plain
from harness.history.rundir import History
from harness.measure.timeline import DeviceStory, Span, Timeline, timeline

Event = dict[str, Any]

_PROCESSES: Final = {Side.SOURCE: 1, Side.DESTINATION: 2, Side.HARNESS: 3}
_WIRE: Final = 4
_FIRST_ROW: Final = 10_000_000
"""First id of a row that is not a thread of QEMU: Linux thread ids are below 2^22."""


def render(history: History) -> bytes:
    """The trace: one JSON document."""
    trace = _Trace(history)
    trace.add(timeline(history))
    for record in history.records:
        trace.add_record(record)
    trace.close()
    manifest = history.manifest
    return msgspec.json.encode(
        {
            "displayTimeUnit": "ns",
            "otherData": {
                "scenario": history.scenario.name,
                "harness": manifest.harness,
                "source": manifest.source.version_text,
                "destination": manifest.destination.version_text,
                "started_ns": str(manifest.started_ns),
            },
            "traceEvents": trace.events,
        }
    )


class _Trace:
    """The events and their rows."""

    def __init__(self, history: History) -> None:
        self.events: list[Event] = []
        self._started_ns = history.manifest.started_ns
        self._end_ns = max(
            [history.manifest.ended_ns, *(record.t_ns for record in history.records[-1:])]
        )
        self._rows: dict[tuple[int, str], int] = {}
        self._threads: set[tuple[int, int]] = set()
        self._pending: dict[tuple[Side, str], list[tuple[Record, str]]] = {}
        self._commands = 0
        builds = {
            Side.SOURCE: history.manifest.source,
            Side.DESTINATION: history.manifest.destination,
        }
        for side, pid in _PROCESSES.items():
            version = f" QEMU {builds[side].version_text}" if side in builds else ""
            self._name_process(pid, f"{side}{version}")
        self._name_process(_WIRE, "wire")

    # -- packets -------------------------------------------------------------------------

    def add(self, times: Timeline) -> None:
        """States, waits, loads and packets as slices; depth and memory as counters."""
        for side, spans in times.statuses.items():
            self._slices(_PROCESSES[side], "migration", spans)
        for story in times.devices:
            for side, spans in story.states.items():
                self._slices(_PROCESSES[side], f"{story.device} state", spans)
            self._add_loads(story)
            for t_ns, depth in story.queue():
                self._count(t_ns, Side.DESTINATION, f"{story.device} queued packets", depth)
        for memory in times.memory:
            self._count(memory.t_ns, memory.side, "resident KiB", memory.resident_kib)

    def _add_loads(self, story: DeviceStory) -> None:
        pid = _PROCESSES[Side.DESTINATION]
        for wait in story.waits:
            args: Event = {"idx": wait.idx, "arrived on channel": wait.channel}
            span = Span(f"waits for {wait.idx}", wait.begin_ns, wait.end_ns)
            self._slices(pid, f"{story.device} waits", [span], args)
        for buffer in story.buffers:
            args = {"idx": buffer.idx, "channel": buffer.channel, "size": buffer.size}
            if buffer.load_ns is not None:
                what = "configuration" if buffer.is_config else str(buffer.idx)
                span = Span(f"loads {what}", buffer.load_ns, buffer.loaded_ns)
                self._slices(pid, f"{story.device} loads", [span], args)
            key = f"{story.device} {buffer.idx}"
            came_ns, taken_ns = buffer.came_ns, buffer.taken_ns
            if came_ns is None:
                continue
            if buffer.sent_ns is not None and buffer.sent_ns <= came_ns:
                name = f"{story.device} in the relay"
                self._pair(_WIRE, name, key, buffer.sent_ns, came_ns, args)
            end_ns = None if taken_ns is None else max(taken_ns, came_ns)
            self._pair(pid, f"{story.device} queued", key, came_ns, end_ns, args)

    # -- records -------------------------------------------------------------------------

    def add_record(self, record: Record) -> None:
        """As an instant; a QMP command and its answer are one slice."""
        pid = _PROCESSES[record.side]
        if record.kind is Kind.QMP and record.name in ("execute", "return", "error"):
            self._add_command(pid, record)
        elif record.kind is Kind.TRACE:
            self._instant(record, pid, self._thread(pid, record))
        elif record.kind is Kind.WIRE and record.channel >= 0:
            self._instant(record, _WIRE, self._row(_WIRE, f"channel {record.channel}"))
        elif record.kind is Kind.WIRE:
            self._instant(record, _WIRE, self._row(_WIRE, "all channels"))
        else:
            about = f"{record.device} {record.kind}" if record.device else str(record.kind)
            self._instant(record, pid, self._row(pid, about))

    def _add_command(self, pid: int, record: Record) -> None:
        command = str(plain(record).get("command", ""))
        pending = self._pending.setdefault((record.side, command), [])
        if record.name == "execute":
            self._commands += 1
            pending.append((record, f"command {self._commands}"))
        elif pending:
            sent, key = pending.pop(0)
            args = {**plain(sent), **plain(record)}
            self._pair(pid, "QMP commands", key, sent.t_ns, record.t_ns, args, label=command)
        else:
            self._instant(record, pid, self._row(pid, str(record.kind)))

    def close(self) -> None:
        """Commands that were never answered last to the end."""
        for (side, command), pending in self._pending.items():
            for sent, key in pending:
                pid = _PROCESSES[side]
                self._pair(pid, "QMP commands", key, sent.t_ns, None, plain(sent), label=command)

    # -- rows ----------------------------------------------------------------------------

    def _name_process(self, pid: int, name: str) -> None:
        self.events += [
            _named("process_name", pid, 0, {"name": name}),
            _named("process_sort_index", pid, 0, {"sort_index": pid}),
        ]

    def _row(self, pid: int, name: str) -> int:
        """Thread id of the row ``name``, which is made on first use."""
        if (pid, name) not in self._rows:
            tid = _FIRST_ROW + len(self._rows)
            self._rows[pid, name] = tid
            self.events += [
                _named("thread_name", pid, tid, {"name": name}),
                _named("thread_sort_index", pid, tid, {"sort_index": len(self._rows)}),
            ]
        return self._rows[pid, name]

    def _thread(self, pid: int, record: Record) -> int:
        """A thread of QEMU; named by its channel, if it serves one."""
        if (pid, record.tid) not in self._threads:
            self._threads.add((pid, record.tid))
            name = "trace" if record.channel < 0 else f"trace, channel {record.channel}"
            self.events.append(_named("thread_name", pid, record.tid, {"name": name}))
        return record.tid

    # -- events --------------------------------------------------------------------------

    def _at(self, t_ns: int) -> float:
        return (max(t_ns, self._started_ns) - self._started_ns) / 1000

    def _slices(self, pid: int, row: str, spans: Iterable[Span], args: Event | None = None) -> None:
        """Slices on a row of their own; they must not overlap."""
        tid = self._row(pid, row)
        for span in spans:
            begin = self._at(span.begin_ns)
            end = self._at(span.end_ns if span.end_ns is not None else self._end_ns)
            self.events.append(
                {
                    "ph": "X",
                    "name": span.what,
                    "pid": pid,
                    "tid": tid,
                    "ts": begin,
                    "dur": round(end - begin, 3),
                    "args": args or {},
                }
            )

    def _pair(
        self,
        pid: int,
        row: str,
        key: str,
        begin_ns: int,
        end_ns: int | None,
        args: Event,
        *,
        label: str = "",
    ) -> None:
        """A slice that may overlap others of its row; ``key`` is its own."""
        end_ns = self._end_ns if end_ns is None else end_ns
        event = {
            "name": label or row,
            "cat": row,
            "pid": pid,
            "tid": pid,
            "id2": {"local": f"{row} {key}"},
        }
        self.events += [
            {**event, "ph": "b", "ts": self._at(begin_ns), "args": args},
            {**event, "ph": "e", "ts": self._at(end_ns)},
        ]

    def _count(self, t_ns: int, side: Side, name: str, value: int) -> None:
        event = {"ph": "C", "name": name, "pid": _PROCESSES[side], "tid": 0}
        self.events.append({**event, "ts": self._at(t_ns), "args": {name: value}})

    def _instant(self, record: Record, pid: int, tid: int) -> None:
        event = {"ph": "i", "s": "t", "name": record.name, "cat": str(record.kind)}
        args = plain(record)
        if record.device:
            args = {**args, "device": record.device}
        at = {"pid": pid, "tid": tid, "ts": self._at(record.t_ns)}
        self.events.append({**event, **at, "args": args})


def _named(what: str, pid: int, tid: int, args: Event) -> Event:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": args}
