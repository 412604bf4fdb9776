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
device     ``received``                ``bytes``, ``digest``, ``expected_bytes``,
                                       ``expected_digest``, ``first_difference`` (-1: none)
device     ``config``                  ``command``, ``scratch``: registers the device itself has
device     ``reset``                   --
device     ``ioctl``                   ``ioctl``, ``count``: tally of one ioctl that was answered
device     ``unknown_ioctl``           ``number``, ``errno`` it was answered with
process    ``launched``                ``argv``, ``pid``
process    ``exited``                  ``status`` (exit code, or -1), ``signal`` (or 0), ``asked``
                                       (whether the harness had told it to)
process    ``signalled``               ``signal`` that the harness sent it
process    ``memory``                  ``hwm_kib``: high-water mark of the resident set
process    ``stderr``                  ``line``
process    ``hung``                    ``waiting_for``, ``backtrace``, ``main_loop_alive``,
                                       ``monitor_alive`` (out-of-band)
session    ``guest_config``            ``registers``: offset -> value, as a guest reads them
session    ``guest_bar``               ``words``: first words of BAR 0, as a guest reads them
session    ``deadline``                ``waiting_for``, ``deadline_s``
=========  ==========================  ====================================================

``exited`` is written once for each process.  Times are CLOCK_REALTIME, because that
is what QEMU stamps its trace lines and QMP events with.
"""

import enum
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
    """Multifd channel that ``tid`` serves; -1: none, or not known."""
