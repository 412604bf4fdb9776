"""The record: one thing that was seen, on one side, at one time.

The words (``name`` and the keys of ``args``) are the contract between those who
record (session, supervisor, vm, trace) and those who judge (check):

=========  ==========================  ====================================================
kind       name                        args
=========  ==========================  ====================================================
trace      the trace event             its arguments under their names in trace-events-all
trace      ``?``                       ``line``: a line that no trace event of the build fits
qmp        the event, e.g. MIGRATION   its data
qmp        ``execute``                 ``command``, ``arguments``
qmp        ``return``, ``error``       ``command``, ``value`` | ``class`` and ``desc``
device     ``arc``                     ``state`` asked for, ``path`` walked, ``errno`` (0: done)
device     ``data_fd``                 ``direction`` saving | resuming, ``mode`` memfd | supervised
device     ``read``                    supervised only: ``offset``, ``asked``, ``got``, ``errno``
device     ``write``                   supervised only: ``offset``, ``asked``, ``got``, ``errno``
device     ``sent``                    ``bytes``, ``digest`` of the whole state the device holds out
device     ``not_compared``            ``what``: ``sent`` or ``received``, missing therefore;
                                       ``why``
device     ``received``                ``bytes``, ``digest``, ``expected_bytes``,
                                       ``expected_digest``, ``first_difference`` (-1: none)
device     ``config``                  ``command``, ``scratch``: registers the device itself has
device     ``bound``                   a PCI function is passed through: ``address``, ``kind``
                                       (vendor:device), ``driver``, ``found_with`` (the driver that
                                       had it), ``group``, ``iommufd`` (whether by that)
device     ``created``                 an mdev instance: ``uuid``, ``type``, ``parent``, ``group``
device     ``abilities``               what the kernel says of it: ``stop_copy``, ``p2p``,
                                       ``pre_copy``, ``dma_logging``, ``iommu_tracking``
device     ``reset``                   --
device     ``lie``                     of a device with a lie, once its state is loaded: ``lie``,
                                       ``at`` (which buffer), ``changed`` (whether anything was)
device     ``ioctl``                   ``ioctl``, ``count``: tally of one ioctl that was answered
device     ``unknown_ioctl``           ``number``, ``errno`` it was answered with
process    ``launched``                ``argv``, ``pid``
process    ``exited``                  ``status`` (exit code, or -1), ``signal`` (or 0), ``asked``
                                       (whether the harness had told it to)
process    ``handed_over``             it runs on, into the next migration: here this is its end
process    ``signalled``               ``signal`` that the harness sent it
process    ``memory``                  ``hwm_kib``, ``rss_kib``: resident set, its high-water
                                       mark and now; ``at``: booted | migrating (from time to
                                       time) | ended
process    ``stderr``                  ``line``
process    ``hung``                    ``waiting_for``, ``backtrace``, ``main_loop_alive``,
                                       ``monitor_alive`` (out-of-band)
guest      ``ready``                   said on the console of this side, once: ``memory_kib`` that
                                       it dirties, ``devices`` whose BAR 0 it has found
guest      ``round``                   ``round``, ``memory``: good | damaged: ..., ``devices``: id
                                       -> likewise of its BAR 0
guest      ``gave_up``                 ``why``
guest      ``line``                    ``line``: anything else on the console
session    ``guest_config``            ``registers``: offset -> value, as a guest reads them
session    ``guest_bar``               ``words``: first words of BAR 0, as a guest reads them
session    ``guest_serial``            ``port`` (first I/O port of a serial port), ``registers``:
                                       name -> value, as a guest has written or reads them
session    ``deadline``                ``waiting_for``, ``deadline_s`` of the scenario, ``waited_s``
                                       (None: ``waiting_for`` says it).  What QEMU does from here on
                                       is the harness's doing, which ends both
session    ``not_converged``           ``deadline_s``: the source still went on with its pre-copy
                                       when its time was over; it was cancelled for that
session    ``action``                  ``action`` (in words), ``position`` in the scenario's
                                       actions: its moment has come
session    ``action_ended``            ``position``; ``how``: done | refused (with ``class`` and
                                       ``desc``) | unanswered | lost (there was no QEMU); of a storm
                                       ``sent``, and ``refused``: command -> why, of those that were
                                       refused each time
session    ``faults``                  ``fired``: how often each fault of the plan changed anything;
                                       ``holding``: whether it still kept anything back at the end
session    ``actions``                 ``done``: whether each action of the plan was done
session    ``continued``               ``after``: status with which the migration before this one
                                       ended; ``is_paused``: whether the guest was; the source was
                                       already there
session    ``not_captured``            ``why``
session    ``replayed``                ``capture``: there is no source; its records are those of the
                                       captured run, their times moved to this one
session    ``not_continued``           ``with``: the scenario of the second migration, which nobody
                                       was left to make
wire       ``channel_opened``          ``connection`` (number in order of accept), ``kind`` main |
                                       multifd | tls | raw
wire       ``stranger_refused``        ``pid``, ``uid`` of another user's process that connected to
                                       the relay, and was closed at once
wire       ``channel_refused``         ``connection``, ``reason``: the destination was not reached
wire       ``channel_ended``           ``connection``, ``side`` that sends no more, ``is_reset``
wire       ``channel_closed``          ``connection``, ``to_destination`` and ``to_source``: bytes
                                       that were passed on
wire       ``damaged``                 ``what``: from here on the channel is passed on unread
wire       ``hello_out``               ``magic``, ``version``, ``channel_id``, ``uuid`` (hex): what
                                       the destination got, where a fault has changed it;
                                       ``channel`` is the number that the source gave it
wire       ``packet_in``               a device-state packet as it came from the source: ``idx``,
                                       ``state_flags``, ``instance_id``; ``size`` and ``digest``
                                       (xxh3_128) of its data, which is all behind VFIO's header;
                                       of a packet flagged CONFIG_STATE ``marker``: the first 8
                                       bytes of its data, hex; where they are not what QEMU puts
                                       there also ``magic``, ``version``, ``flags``,
                                       ``state_version``, ``next_packet_size`` (stated, not true);
                                       ``idx`` is None where the payload, of ``size`` bytes then, is
                                       too short for VFIO's header; ``idstr`` (hex; all 256 bytes if
                                       it is not one text and NULs to its end) where ``device`` is
                                       none of the scenario's and therefore empty
wire       ``packet_out``              likewise, as the destination's socket has taken all of it
wire       ``packet_lost``             likewise, of one that could not be delivered
wire       ``main_section``            a START or FULL section of a device (its idstr has a ``/``)
                                       ended on the main channel of a multifd migration: ``kind``
                                       start | full, ``idstr``, ``size`` of its body; it has gone on
wire       ``switchover``              ``offset`` of the command's type byte on the main channel;
                                       recorded before the destination can have read it
wire       ``main_end``                ``offset`` of the end of the state on the main channel
wire       ``raw_out``                 ``size``: bytes sent that are no whole packet
wire       ``fault``                   ``fault`` (kind), ``position`` in the plan, ``what`` it did,
                                       ``idx`` if it is about one packet
wire       ``main_stalled``            --
wire       ``main_resumed``            --
wire       ``delivered``               ``bytes``, ``digest``: a device's data as delivered, by idx;
                                       only where a fault changed data
=========  ==========================  ====================================================

``exited`` is written once for each process.  Times are CLOCK_REALTIME, because that
is what QEMU stamps its trace lines and QMP events with.
"""

import enum
import re
from collections.abc import Mapping
from typing import Any

import msgspec


class Side(enum.StrEnum):
    """Which of the two VMs a record is about, or the harness itself."""

    SOURCE = "source"
    DESTINATION = "destination"
    HARNESS = "harness"


class Kind(enum.StrEnum):
    """Who saw it."""

    TRACE = "trace"
    QMP = "qmp"
    DEVICE = "device"
    PROCESS = "process"
    SESSION = "session"
    WIRE = "wire"
    GUEST = "guest"


class Record(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One thing that was seen."""

    t_ns: int
    """CLOCK_REALTIME, ns since the epoch."""
    side: Side
    kind: Kind
    name: str
    args: dict[str, Any] = {}
    device: str = ""
    """Id of the scenario's device that it is about; empty: none."""
    tid: int = 0
    """Thread of QEMU that wrote it (trace only)."""
    channel: int = -1
    """Multifd channel, of ``tid`` or on the wire; -1: the main channel, none, or not known."""


_ROW = re.compile(r"^(\w+) +((?:``[^`]+``(?:, )?)+)", re.MULTILINE)


def _names(table: str) -> Mapping[Kind, frozenset[str]]:
    found: dict[Kind, set[str]] = {}
    for kind, names in _ROW.findall(table):
        found.setdefault(Kind(kind), set()).update(re.findall("``([^`]+)``", names))
    return {kind: frozenset(names) for kind, names in found.items()}


NAMES = _names(__doc__ or "")
"""The names of the table above, by kind; of ``trace`` and ``qmp`` those that are not QEMU's.  Empty
without docstrings (``python -OO``)."""
