"""Why a migration hangs, as far as the trace shows it.

Recognises known hangs and describes them, so that a hang is a finding to act on, and
a known deviation is distinguished from a new hang.
"""

from itertools import pairwise
from typing import NamedTuple

from harness.check.evidence import (
    BUFFERS_END,
    CONFIG_START,
    INCOMING,
    LOAD_END,
    LOAD_START,
    PEERS,
    SAVE_THREAD_END,
    SAVE_THREAD_START,
    STARVED,
    THREAD_END,
    Evidence,
)
from harness.history.device import Read, Write
from harness.history.process import Memory
from harness.history.records import Event, Record, Side
from harness.history.session import Deadline, Standstill

SYNC_SIGNAL = "multifd_send_sync_main_signal"
SYNC_WAIT = "multifd_send_sync_main_wait"
SYNC_DONE = "multifd_send_sync_main"
SEND_END = "multifd_send_thread_end"
RECV_SYNC_WAIT = "multifd_recv_sync_main_wait"
RECV_SYNC_DONE = "multifd_recv_sync_main"
RECV_END = "multifd_recv_thread_end"
RECV_HEADER = "multifd_recv_unfill"
"""Trace events of migration/trace-events; migration/multifd.c has the functions."""

MOVING_NS = 1_000_000_000
"""A migration that has moved state in so much time before the deadline does not hang."""

_HELD_UP_NS = 500_000_000
"""The memory of both QEMUs is recorded about every 10 ms, whatever they do.  Where it is not for
so long, the harness does not run."""

SHAPES = frozenset(
    {
        "send-sync-waits-for-ended-channel",
        "send-sync-waits-while-state-is-queued",
        "recv-sync-waits-for-ended-channel",
        "recv-sync-waits-for-load-of-configuration",
        "load-thread-waits",
        "load-thread-waits-some-channels-ended",
    }
)
"""All that ``cause`` knows: the same hang, whatever requirement it breaks."""


class Cause(NamedTuple):
    """What waits for what: in words, the records that show it, and ``Finding.shape``."""

    words: str
    records: list[Record]
    shape: str


def side_of(found: Cause) -> Side:
    """Which QEMU hangs in it."""
    return Side.SOURCE if found.shape.startswith("send-") else Side.DESTINATION


def cause(evidence: Evidence, deadline: Record) -> Cause | None:
    """What waits for what at ``deadline``; None if it is no known shape."""
    return (
        _source_waits_for_ended(evidence, deadline)
        or _source_waits_for_channels(evidence, deadline)
        or _destination_waits_for_channels(evidence, deadline)
        or _destination_waits_for_configuration(evidence, deadline)
        or _load_waits(evidence, deadline)
    )


def goes_on(evidence: Evidence, deadline: Record) -> str:
    """Why state was still moved when the time was over, in words; empty if none was.

    That migration is slow, or its ``deadline_s`` short: nothing shows that it hangs.
    """
    if evidence.endings.is_completed:
        return ""  # the time was for something after it
    since_ns = deadline.t_ns - MOVING_NS
    moved = sum(
        since_ns <= record.t_ns < deadline.t_ns
        for device in evidence.scenario.devices
        for records in (
            evidence.trace(Side.DESTINATION, LOAD_END, device.id),
            evidence.of(Read, Side.SOURCE, device.id),
            evidence.of(Write, Side.DESTINATION, device.id),
        )
        for record in records
    )
    if not moved:
        return ""
    return "device state was still transferred in the last second: give it a longer deadline_s"


def words(standstill: Standstill) -> str:
    """What was seen, as a sentence without its end."""
    counts = " and ".join(f"{n} of the {side}" for side, n in standstill.threads.items())
    but = "".join(
        f" but {name} of the {side}, which spun" for side, name in standstill.spinning.items()
    )
    return (
        f"nothing had moved for {standstill.still_s:.1f} s: no trace event, no byte, no event, no "
        f"access to a device, and all threads were asleep ({counts}){but}"
    )


def held_up(evidence: Evidence, deadline: Record[Deadline]) -> str:
    """What says that the machine was too busy for the harness itself to run; empty if it was not.

    A QEMU waits for its answers then, or does not run either.  Of a standstill only its own time
    matters, and the harness has counted what it lost of that.
    """
    for standstill in evidence.of(Standstill):
        still_s, lost_s = standstill.args.still_s, standstill.args.uncounted_s
        return _too_busy(lost_s) if lost_s >= (still_s + lost_s) / 3 else ""
    waited_s = deadline.args.waited_s or deadline.args.deadline_s or 0.0
    since_ns = deadline.t_ns - int(waited_s * 1e9)
    ran_ns = sorted(
        record.t_ns
        for side in PEERS
        for record in evidence.of(Memory, side)
        if record.args.at == "migrating" and since_ns <= record.t_ns < deadline.t_ns
    )
    if not ran_ns:
        return ""
    gaps_ns = [b - a for a, b in pairwise([since_ns, *ran_ns, deadline.t_ns])]
    # After t seconds the samples are about t/200 apart (vm/memory_watch.py).
    long_ns = max(_HELD_UP_NS, int(waited_s * 1e9 / 50))
    lost_s = sum(gap for gap in gaps_ns if gap > long_ns) / 1e9
    return _too_busy(lost_s) if lost_s >= waited_s / 3 else ""


def _too_busy(lost_s: float) -> str:
    return f"for {lost_s:.0f} s of that the machine was too busy for the harness to run: try again"


def _source_waits_for_ended(evidence: Evidence, deadline: Record) -> Cause | None:
    """The migration thread waits for each channel's SYNC, and one has ended without it: only
    a channel that fails wakes it, not those that end because of that.
    """
    waits = _before(evidence, SYNC_WAIT, deadline)
    done = _before(evidence, SYNC_DONE, deadline)
    ended = _before(evidence, SEND_END, deadline)
    if not waits or not ended or (done and done[-1].t_ns >= waits[-1].t_ns):
        return None
    return Cause(
        "the source's migration thread waits in multifd_send_sync_main() for its channels, "
        f"of which {_numbers(ended)} ended",
        [waits[-1], ended[0]],
        "send-sync-waits-for-ended-channel",
    )


def _source_waits_for_channels(evidence: Evidence, deadline: Record) -> Cause | None:
    """The migration thread has asked every channel for a SYNC and never gets through, while
    threads that save device state still queue packets.  Both take tokens of
    ``channels_ready``; a channel that has sent its SYNC takes one more packet, blocks in
    sendmsg (the destination's channel waits for the flush on the main channel), and the
    token that the migration thread needs never comes.  A thread that saves may have it: then
    it spins in multifd_send(), looking for a channel that has no packet to send.
    """
    signals = _before(evidence, SYNC_SIGNAL, deadline)
    done = _before(evidence, SYNC_DONE, deadline)
    if not signals or (done and done[-1].t_ns >= signals[-1].t_ns) or goes_on(evidence, deadline):
        return None
    starts = [
        record
        for device in evidence.scenario.devices
        for record in _before(evidence, SAVE_THREAD_START, deadline, device.id)
    ]
    ended = {
        device.id
        for device in evidence.scenario.devices
        if _before(evidence, SAVE_THREAD_END, deadline, device.id)
    }
    saving = sorted({start.device for start in starts} - ended)
    if not saving:
        return None
    return Cause(
        "the source's migration thread waits in multifd_send_sync_main() for its channels "
        f"while {', '.join(saving)} still {'queues' if len(saving) == 1 else 'queue'} state",
        [signals[-1], *(start for start in starts if start.device in saving)],
        "send-sync-waits-while-state-is-queued",
    )


def _destination_waits_for_channels(evidence: Evidence, deadline: Record) -> Cause | None:
    """The main thread waits for each channel's SYNC, and one has ended without it."""
    waits = _before(evidence, RECV_SYNC_WAIT, deadline, side=Side.DESTINATION)
    done = _before(evidence, RECV_SYNC_DONE, deadline, side=Side.DESTINATION)
    ended = _before(evidence, RECV_END, deadline, side=Side.DESTINATION)
    if not waits or not ended or (done and done[-1].t_ns >= waits[-1].t_ns):
        return None
    return Cause(
        "the destination's main thread waits in multifd_recv_sync_main() for its channels, "
        f"of which {_numbers(ended)} ended",
        [waits[-1], ended[0]],
        "recv-sync-waits-for-ended-channel",
    )


def _destination_waits_for_configuration(evidence: Evidence, deadline: Record) -> Cause | None:
    """The main thread waits for a channel's SYNC, the channel for a load thread, and that for the
    main thread.

    A load thread takes the big lock for the configuration, and keeps load_bufs_mutex meanwhile
    (vfio_load_bufs_thread_load_config() in hw/vfio/migration-multifd.c).  The main thread has the
    big lock; a channel with one more packet of the device needs load_bufs_mutex.
    """
    waits = _before(evidence, RECV_SYNC_WAIT, deadline, side=Side.DESTINATION)
    done = _before(evidence, RECV_SYNC_DONE, deadline, side=Side.DESTINATION)
    if not waits or (done and done[-1].t_ns >= waits[-1].t_ns):
        return None
    headers = _before(evidence, RECV_HEADER, deadline, side=Side.DESTINATION)
    for device in evidence.multifd_devices:
        begun, loaded, configured, incoming = (
            _before(evidence, name, deadline, device, Side.DESTINATION)
            for name in (LOAD_START, BUFFERS_END, CONFIG_START, INCOMING)
        )
        if not loaded or configured:
            continue
        # The lock is free while data is written.
        late = [packet for packet in incoming if packet.t_ns > begun[-1].t_ns] if begun else []
        for packet in late:
            after = [each for each in headers if each.args["id"] == packet.channel]
            if after and after[-1].t_ns > packet.t_ns:
                continue
            return Cause(
                "the destination's main thread waits in multifd_recv_sync_main() for channel "
                f"{packet.channel}, which has one more packet of {device}, while the load thread "
                f"of {device} waits for the main thread to load the configuration",
                [waits[-1], loaded[-1], packet],
                "recv-sync-waits-for-load-of-configuration",
            )
    return None


def _load_waits(evidence: Evidence, deadline: Record) -> Cause | None:
    """A load thread waits for a packet, and channels have ended; nothing ends it.

    A destination that fails ends all of its channels.  Where some go on, it took the end of
    the others for a good one.
    """
    ended = _before(evidence, RECV_END, deadline, side=Side.DESTINATION)
    for device in evidence.multifd_devices:
        starved = _before(evidence, STARVED, deadline, device, Side.DESTINATION)
        if (
            ended
            and starved
            and not _before(evidence, THREAD_END, deadline, device, Side.DESTINATION)
        ):
            idx = starved[-1].args["idx"]
            is_failed = len(ended) >= evidence.scenario.channels
            return Cause(
                f"the destination's load thread of {device} waits for packet {idx}, though "
                f"channel {_numbers(ended)} ended",
                [starved[-1], ended[0]],
                "load-thread-waits" if is_failed else "load-thread-waits-some-channels-ended",
            )
    return None


def _numbers(ended: list[Event]) -> str:
    """The channels of ``ended``."""
    return ", ".join(str(number) for number in sorted(record.args["id"] for record in ended))


def _before(
    evidence: Evidence, name: str, deadline: Record, device: str = "", side: Side = Side.SOURCE
) -> list[Event]:
    return [record for record in evidence.trace(side, name, device) if record.t_ns < deadline.t_ns]
