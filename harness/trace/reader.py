"""Log lines of QEMU's trace backend ``log`` become records.

With ``-msg timestamp=on`` a line has a time stamp in one of two forms:

- QEMU 10.0 (scripts/tracetool/backend/log.py): ``TID@SECONDS.MICROS:EVENT ARGS``;
- QEMU 11.1 (util/log.c, which stamps every line that is logged):
  ``2026-11-23T05:08:19.310196Z EVENT ARGS``, **without a thread id**, and without
  ``.MICROS`` when they are zero (GLib's g_date_time_format_iso8601).

To attribute lines to threads (the channel of a packet), QEMU 11.1 needs one log for each
thread, ``-d tid -D DIR/%d.log``: the name of the file is the thread id, and each file has a
reader of its own with that ``tid``.  QEMU 10.0 can do the same.

Both stamp a line before they take the log's lock: in one file lines are in the order of
writing, and stamps may step back a little.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from harness.errors import TraceError
from harness.history.records import Event, Kind, Record, Side
from harness.trace.catalogue import Arguments, Catalogue, TraceEvent

MAX_LINE_BYTES = 64 * 1024
"""A longer line is damage: a trace event prints names, numbers, and at most one message."""

_PIECE_BYTES = 32 * 1024  # a piece fits in the CPU's cache: a third faster

_STAMP = re.compile(
    r"(?:([0-9]{1,10})@([0-9]{1,12})\.([0-9]{6}):"
    r"|([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{6}))?Z )"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_MAX_SECONDS_KEPT = 4096

# migration/multifd.c: a channel's thread traces these first and last.
_CHANNEL_STARTS = {"multifd_recv_thread_start", "multifd_send_thread_start"}
_CHANNEL_ENDS = {"multifd_recv_thread_end", "multifd_send_thread_end"}


class _Stamp(NamedTuple):
    tid: int
    t_ns: int
    end: int
    """Where in the line the event's name starts."""


class _Known(NamedTuple):
    """What the fast path needs of a trace event."""

    name: str
    read: Callable[[str], Arguments | None]
    is_about_device: bool


class TraceReader:
    """Reads one log, passed in as pieces of any size.

    Each line becomes one record.  A line that fits no declared event becomes a record named
    ``?`` with all of its text as ``line``; its time is that of its own stamp, else of the line
    before it, else 0.

    :param catalogue: the events of the QEMU that writes the log
    :param side: which VM that is
    :param device_names: device id of the scenario by trace name, e.g. ``VFIO_FD12``
    :param tid: thread that writes this log (``-d tid``), for lines without a thread id
    """

    def __init__(
        self, catalogue: Catalogue, side: Side, device_names: Mapping[str, str], tid: int = 0
    ) -> None:
        self._events = catalogue.events
        self._side = side
        self._device_names: Mapping[Any, str] = device_names
        self._tid = tid
        self._partial = bytearray()
        self._last_ns = 0
        self._channels: dict[int, int] = {}
        # For the fast path, filled by the slow one: events by name, and by a stamp
        # without its microseconds the thread id and the second, in ns.
        self._has_dates = False
        self._known: dict[str, _Known] = {}
        self._seconds: dict[str, tuple[int, int]] = {}

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes of the log; returns the records of the lines they complete.

        Bytes that are not UTF-8 are kept as ``\\xNN``.

        :raises TraceError: the log has no time stamps, or a line longer than MAX_LINE_BYTES;
            the reader cannot be used after it
        """
        if len(data) > _PIECE_BYTES:
            pieces = range(0, len(data), _PIECE_BYTES)
            return [r for at in pieces for r in self.feed(data[at : at + _PIECE_BYTES])]
        end = data.rfind(b"\n")
        if end < 0:
            self._partial += data
            self._check_length(len(self._partial))
            return []
        block = bytes(self._partial) + data[:end]
        self._partial[:] = data[end + 1 :]
        if len(block) > MAX_LINE_BYTES:
            self._check_length(max(map(len, block.split(b"\n"))))
        return self._read_lines(block.decode("utf-8", "backslashreplace").split("\n"))

    def close(self) -> list[Event]:
        """The log has ended; returns the record ``?`` of a last line without newline, if any.

        Such a line is never read as an event: QEMU may have been killed within the digits
        of a number.
        """
        if not self._partial:
            return []
        line = self._partial.decode("utf-8", "backslashreplace")
        self._partial.clear()
        return [self._unknown(line, self._stamp(line))]

    def _read_lines(self, lines: list[str]) -> list[Event]:
        """As :meth:`_read_line` for each; reads lines of a known event and second itself."""
        side, kind, device_names = self._side, Kind.TRACE, self._device_names
        known, seconds, channels = self._known, self._seconds, self._channels
        records: list[Event] = []
        for line in lines:
            if self._has_dates:  # DATE.MICROSZ EVENT: the name starts at 28
                second, micros = seconds.get(line[:20]), line[20:26]
                name, _, text = line[28:].partition(" ")
                is_stamped = line[26:28] == "Z "
            else:  # TID@SECONDS.MICROS:EVENT
                head, _, text = line.partition(" ")
                stamp, _, name = head.rpartition(":")
                second, micros = seconds.get(stamp[:-6]), stamp[-6:]
                is_stamped = True
            event = known.get(name)
            if (
                event is None
                or second is None
                or not (is_stamped and micros.isdigit() and micros.isascii())
                or (args := event.read(text)) is None
            ):
                records.append(self._read_line(line))
                continue
            tid, t_ns = second
            t_ns += int(micros) * 1000
            self._last_ns = t_ns
            device = device_names.get(args["name"], "") if event.is_about_device else ""
            channel = channels.get(tid, -1)
            records.append(Record(t_ns, side, kind, event.name, args, device, tid, channel))
        return records

    def _read_line(self, line: str) -> Event:
        """The record of any line; remembers what the fast path needs for the next."""
        stamp = self._stamp(line)
        name, _, text = line[stamp.end if stamp else 0 :].partition(" ")
        event = self._events.get(name)
        args = event.read(text) if event else None
        if event is None or args is None:
            return self._unknown(line, stamp)
        if stamp is None:
            raise TraceError(
                f"trace log of the {self._side}: no time stamp at {line[:60]!r};"
                " start QEMU with -msg timestamp=on"
            )
        tid, self._last_ns, _ = stamp
        is_about_device = _is_about_device(event)
        if name in _CHANNEL_STARTS and tid:
            self._channels[tid] = int(args.get("id", -1))
        channel = self._channels.get(tid, -1)
        if name in _CHANNEL_ENDS:
            self._channels.pop(tid, None)
        elif name not in _CHANNEL_STARTS:
            self._known[name] = _Known(event.name, event.read, is_about_device)
        device = self._device_names.get(args["name"], "") if is_about_device else ""
        return Record(self._last_ns, self._side, Kind.TRACE, name, args, device, tid, channel)

    def _unknown(self, line: str, stamp: _Stamp | None) -> Event:
        tid = self._tid
        if stamp:
            tid, self._last_ns, _ = stamp
        channel = self._channels.get(tid, -1)
        return Record(self._last_ns, self._side, Kind.TRACE, "?", {"line": line}, "", tid, channel)

    def _stamp(self, line: str) -> _Stamp | None:
        match = _STAMP.match(line)
        if match is None:
            return None
        tid, seconds, micros, date, date_micros = match.groups()
        if date is None:
            second = int(tid), int(seconds) * 1_000_000_000
            before = match.start(3)
        else:
            try:
                passed = datetime.fromisoformat(f"{date}+00:00") - _EPOCH
            except ValueError:  # a day or an hour that does not exist
                return None
            second = self._tid, passed // _SECOND * 1_000_000_000
            micros, before = date_micros, match.start(5)
        self._has_dates = date is not None
        if micros:
            if len(self._seconds) >= _MAX_SECONDS_KEPT:
                self._seconds.clear()
            self._seconds[line[:before]] = second
        return _Stamp(second[0], second[1] + int(micros or 0) * 1000, match.end())

    def _check_length(self, length: int) -> None:
        if length > MAX_LINE_BYTES:
            raise TraceError(
                f"trace log of the {self._side}: a line of {length} bytes or more, where"
                f" {MAX_LINE_BYTES} is the limit: not a log of trace events"
            )


def _is_about_device(event: TraceEvent) -> bool:
    """Whether its first argument may be a device's trace name (hw/vfio/trace-events).

    A few print a region's name there, which no device has.
    """
    return (
        event.name.startswith("vfio_")
        and bool(event.arguments)
        and event.arguments[0].name == "name"
    )
