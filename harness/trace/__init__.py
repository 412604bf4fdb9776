"""A **trace event** is declared by a QEMU build; a line of its log becomes a record.

``catalogue`` reads the build's ``trace-events-all``, so names, arguments and formats
are those of the QEMU under test and not of the one this was written against;
``reader`` turns the log's bytes into :class:`~harness.history.Record`.  May import
``harness.history`` and ``harness.errors`` only.  No I/O and no clock: no asyncio,
socket, subprocess, threading, time or random, and no file is opened; text and bytes
are handed in.  To support another form of log line, start at ``reader._STAMP``.
"""

from harness.trace.catalogue import Catalogue, TraceEvent
from harness.trace.reader import TraceReader

__all__ = ["Catalogue", "TraceEvent", "TraceReader"]
