"""What happened when in one run: packets, waits and loads, states, memory and downtime.

Joins the trace, wire, device and QMP records of one thing.  What was not recorded (no relay, no
trace) is None or missing.  All times are ns since the epoch, as in the records.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from harness.history import Kind, Record, Side, plain, process, wire
from harness.history.device import Arc
from harness.history.rundir import History

_BUFFER: Final = "vfio_load_state_device_buffer_"
_CONFIG: Final = "vfio_load_device_config_state_"
_THREAD: Final = "vfio_load_bufs_thread_"
_MARGIN: Final = 0.03


@dataclass(frozen=True, slots=True)
class Span:
    """A period.  ``end_ns`` is None if it had not ended at the end of the records."""

    what: str
    begin_ns: int
    end_ns: int | None


@dataclass(frozen=True, slots=True)
class Wait:
    """The load thread waited until packet ``idx`` arrived on ``channel``.

    ``channel`` is -1 if it is not known, ``end_ns`` None if it waited to the end.
    """

    idx: int
    begin_ns: int
    end_ns: int | None
    channel: int


@dataclass(slots=True)
class Buffer:
    """One packet of device state by its index; the first one if there were several."""

    idx: int
    is_config: bool = False
    size: int | None = None
    sent_ns: int | None = None
    """The relay had received all of it from the source."""
    passed_ns: int | None = None
    """The relay had sent all of it to the destination."""
    arrived_ns: int | None = None
    """The destination traced its arrival."""
    channel: int = -1
    """The channel on which it arrived; if not known, was passed on; if not known, was sent."""
    load_ns: int | None = None
    loaded_ns: int | None = None
    taken_ns: int | None = None
    """When it left the queue: when it, or a later packet, started to load.  A packet without data
    has no load event."""
    repeats: int = 0
    """How often the same index arrived again."""
    faults: list[str] = field(default_factory=list)

    @property
    def came_ns(self) -> int | None:
        """When it reached the destination, by the trace or by the relay."""
        return self.arrived_ns if self.arrived_ns is not None else self.passed_ns


@dataclass(slots=True)
class DeviceStory:
    """One device: its packets by index, and the periods of its load thread."""

    device: str
    buffers: list[Buffer] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    config: list[Span] = field(default_factory=list)
    thread: list[Span] = field(default_factory=list)
    states: dict[Side, list[Span]] = field(default_factory=dict)

    def queue(self) -> list[tuple[int, int]]:
        """Packets that had arrived and were not taken yet: (time, how many from then on)."""
        changes: list[tuple[int, int]] = []
        for buffer in self.buffers:
            if buffer.came_ns is not None:
                changes.append((buffer.came_ns, 1))
                if buffer.taken_ns is not None:
                    changes.append((max(buffer.taken_ns, buffer.came_ns), -1))
        changes.sort(key=lambda change: (change[0], -change[1]))
        depths = itertools.accumulate(change for _, change in changes)
        return [(t_ns, depth) for (t_ns, _), depth in zip(changes, depths, strict=True)]


@dataclass(frozen=True, slots=True)
class Downtime:
    """From the source's STOP to the RESUME of either side.

    :ivar resumed: the side that ran the guest again.  None if neither did: ``parts`` then end with
        the last thing seen
    """

    begin_ns: int
    resumed: Side | None
    parts: tuple[Span, ...]

    @property
    def end_ns(self) -> int | None:
        """None if the guest did not run again."""
        return self.parts[-1].end_ns if self.resumed is not None else None


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident set of one QEMU, and its high-water mark so far."""

    t_ns: int
    side: Side
    resident_kib: int
    highest_kib: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """One run.

    :ivar begin_ns: start of what was recorded; ``end_ns``: its end, without waits that did not end.
        Both are 0 if nothing was recorded
    :ivar channels: arrivals of packets: channel -> [(time, number of the device)]
    """

    begin_ns: int
    end_ns: int
    devices: tuple[DeviceStory, ...]
    channels: dict[int, list[tuple[int, int]]]
    statuses: dict[Side, list[Span]]
    downtime: Downtime | None
    memory: tuple[Memory, ...]


def timeline(history: History) -> Timeline:
    """The timeline of ``history``."""
    about: dict[str, list[Record]] = {device.id: [] for device in history.scenario.devices}
    for record in history.records:
        if record.device in about:
            about[record.device].append(record)
    devices = tuple(_device(device, records) for device, records in about.items())
    channels: dict[int, list[tuple[int, int]]] = {}
    for number, story in enumerate(devices):
        for buffer in story.buffers:
            if buffer.came_ns is not None:
                channels.setdefault(buffer.channel, []).append((buffer.came_ns, number))
    downtime = _downtime(history.records, devices)
    times = list(_times(devices, downtime))
    margin = int(_MARGIN * (max(times) - min(times))) + 1 if times else 0
    return Timeline(
        begin_ns=min(times) - margin if times else 0,
        end_ns=max(times) + margin if times else 0,
        devices=devices,
        channels=dict(sorted(channels.items())),
        statuses=_statuses(history.records),
        downtime=downtime,
        memory=tuple(_memory(history.records)),
    )


# -- devices -----------------------------------------------------------------------------


def _device(device: str, records: list[Record]) -> DeviceStory:
    buffers: dict[int, Buffer] = {}
    for record in records:
        idx = _idx(record)
        if idx is not None:
            _fill(buffers.setdefault(idx, Buffer(idx)), record)
    loading = [r for r in records if r.kind is Kind.TRACE and r.side is Side.DESTINATION]
    story = DeviceStory(
        device,
        buffers=[buffers[idx] for idx in sorted(buffers) if _was_seen(buffers[idx])],
        waits=list(_waits(loading, buffers)),
        config=list(_pairs(loading, _CONFIG, "configuration")),
        thread=list(_pairs(loading, _THREAD, "load thread")),
        states=_states(records),
    )
    _take(story)
    return story


def _take(story: DeviceStory) -> None:
    """Fill in when the configuration packet was loaded, and when each packet was taken."""
    if story.config and story.buffers and story.buffers[-1].load_ns is None:
        last, config = story.buffers[-1], story.config[0]
        last.is_config, last.load_ns, last.loaded_ns = True, config.begin_ns, config.end_ns
    taken_ns = None
    for buffer in reversed(story.buffers):
        if buffer.load_ns is not None and (taken_ns is None or buffer.load_ns < taken_ns):
            taken_ns = buffer.load_ns
        buffer.taken_ns = taken_ns


def _was_seen(buffer: Buffer) -> bool:
    """Whether more is known than that the load thread waited for it."""
    return not (buffer.came_ns is None and buffer.sent_ns is None and buffer.load_ns is None)


def _idx(record: Record) -> int | None:
    """Index of the packet that it is about.  None if it is about none."""
    match record.args:
        case wire.Packet(idx=idx) | wire.Fault(idx=idx):
            return idx
        case dict(args):
            idx = args.get("idx")
            return idx if isinstance(idx, int) else None
    return None


def _fill(buffer: Buffer, record: Record) -> None:
    match record.args:
        case wire.PacketIn(size=size, state_flags=flags) if buffer.sent_ns is None:
            buffer.sent_ns, buffer.size, buffer.is_config = record.t_ns, size, bool(flags & 1)
            if buffer.came_ns is None:
                buffer.channel = record.channel
        case wire.PacketOut(size=size, state_flags=flags) if buffer.passed_ns is None:
            buffer.passed_ns, buffer.size, buffer.is_config = record.t_ns, size, bool(flags & 1)
            if buffer.arrived_ns is None:
                buffer.channel = record.channel
        case wire.Fault(what=what):
            buffer.faults.append(what)
    if record.kind is Kind.TRACE:
        _fill_from_trace(buffer, record)


def _fill_from_trace(buffer: Buffer, record: Record) -> None:
    match record.name.removeprefix(_BUFFER):
        case "incoming" if buffer.arrived_ns is not None:
            buffer.repeats += 1
        case "incoming":
            buffer.arrived_ns = record.t_ns
            if record.channel >= 0:
                buffer.channel = record.channel
        case "load_start" if buffer.load_ns is None:
            buffer.load_ns = record.t_ns
        case "load_end" if buffer.loaded_ns is None:
            buffer.loaded_ns = record.t_ns


def _waits(records: Iterable[Record], buffers: dict[int, Buffer]) -> Iterator[Wait]:
    """From the first event of a wait to the load that ended it; repeated events are one wait."""
    idx = begin_ns = -1
    for record in records:
        if record.name == f"{_BUFFER}starved":
            awaited = int(plain(record)["idx"])
            if awaited != idx:
                if idx >= 0:
                    yield _wait(buffers[idx], begin_ns, record.t_ns)
                idx, begin_ns = awaited, record.t_ns
        elif idx >= 0 and record.name in (
            f"{_BUFFER}load_start",
            f"{_CONFIG}start",
            f"{_THREAD}end",
        ):
            yield _wait(buffers[idx], begin_ns, record.t_ns)
            idx = -1
    if idx >= 0:
        yield _wait(buffers[idx], begin_ns, None)


def _wait(buffer: Buffer, begin_ns: int, end_ns: int | None) -> Wait:
    channel = buffer.channel if buffer.came_ns is not None else -1
    return Wait(buffer.idx, begin_ns, end_ns, channel)


def _pairs(records: Iterable[Record], prefix: str, what: str) -> Iterator[Span]:
    begin_ns: int | None = None
    for record in records:
        if record.name == f"{prefix}start":
            begin_ns = record.t_ns
        elif record.name == f"{prefix}end" and begin_ns is not None:
            yield Span(what, begin_ns, record.t_ns)
            begin_ns = None
    if begin_ns is not None:
        yield Span(what, begin_ns, None)


def _states(records: Iterable[Record]) -> dict[Side, list[Span]]:
    """The states of the device, from its own arcs; it starts in RUNNING."""
    found: dict[Side, list[tuple[int, str]]] = {}
    for record in records:
        if isinstance(record.args, Arc):
            steps = found.setdefault(record.side, [(0, "RUNNING")])
            if record.args.path:
                steps.append((record.t_ns, record.args.path[-1]))
    return {side: list(_spans(steps)) for side, steps in found.items()}


def _spans(steps: list[tuple[int, str]]) -> Iterator[Span]:
    """A span from each step to the next."""
    ends = [*(t_ns for t_ns, _ in steps[1:]), None]
    for (t_ns, what), end_ns in zip(steps, ends, strict=True):
        yield Span(what, t_ns, end_ns)


# -- the migration -----------------------------------------------------------------------


def _statuses(records: Iterable[Record]) -> dict[Side, list[Span]]:
    """The status of the migration on each side, from the MIGRATION events."""
    found: dict[Side, list[tuple[int, str]]] = {}
    for record in records:
        if record.kind is Kind.QMP and record.name == "MIGRATION":
            status = str(plain(record).get("status", ""))
            found.setdefault(record.side, []).append((record.t_ns, status))
    return {side: list(_spans(steps)) for side, steps in found.items()}


def _memory(records: Iterable[Record]) -> Iterator[Memory]:
    for record in records:
        match record.args:
            # Runs of the first harness have the high-water mark only.
            case process.Memory(rss_kib=int(resident_kib), hwm_kib=highest_kib):
                yield Memory(record.t_ns, record.side, resident_kib, highest_kib)


def _downtime(records: Iterable[Record], devices: Iterable[DeviceStory]) -> Downtime | None:
    events = [r for r in records if r.kind is Kind.QMP and r.name in ("STOP", "RESUME")]
    stop = next((r for r in events if r.name == "STOP" and r.side is Side.SOURCE), None)
    if stop is None:
        return None
    after = (r for r in events if r.name == "RESUME" and r.t_ns >= stop.t_ns)
    resume = next(after, None)
    stories = list(devices)
    came = [b.came_ns for story in stories for b in story.buffers if b.came_ns is not None]
    data = [b for story in stories for b in story.buffers if not b.is_config]
    loaded = [b.loaded_ns for b in data if b.loaded_ns is not None]
    config = [s.end_ns for story in stories for s in story.config if s.end_ns is not None]
    marks = [
        ("until the first packet has arrived", min(came, default=None)),
        ("until the last packet has arrived", max(came, default=None)),
        ("until the last data is loaded", max(loaded, default=None)),
        ("until the configuration is loaded", max(config, default=None)),
    ]
    parts: list[Span] = []
    begin_ns = stop.t_ns
    for what, t_ns in marks:
        if t_ns is not None and begin_ns < t_ns and (resume is None or t_ns < resume.t_ns):
            parts.append(Span(what, begin_ns, t_ns))
            begin_ns = t_ns
    if resume is None:
        return Downtime(stop.t_ns, None, tuple(parts))
    parts.append(Span(f"until the {resume.side} runs the guest", begin_ns, resume.t_ns))
    return Downtime(stop.t_ns, resume.side, tuple(parts))


def _times(devices: Iterable[DeviceStory], downtime: Downtime | None) -> Iterator[int]:
    """All times at which something was recorded."""
    if downtime is not None:
        yield downtime.begin_ns
        yield from (part.end_ns for part in downtime.parts if part.end_ns is not None)
    for story in devices:
        for buffer in story.buffers:
            for t_ns in (buffer.sent_ns, buffer.came_ns, buffer.load_ns, buffer.loaded_ns):
                if t_ns is not None:
                    yield t_ns
        for wait in story.waits:
            yield from _ends(wait.begin_ns, wait.end_ns)
        for span in (*story.config, *story.thread):
            yield from _ends(span.begin_ns, span.end_ns)


def _ends(begin_ns: int, end_ns: int | None) -> tuple[int, ...]:
    return (begin_ns,) if end_ns is None else (begin_ns, end_ns)
