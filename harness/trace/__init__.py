"""A **trace event** is declared by a QEMU build; a line of its log becomes a record.

``catalogue`` reads the build's ``trace-events-all``, so names, arguments and formats are
those of the QEMU under test; ``reader`` turns the log's bytes into
:class:`~harness.history.Record`.  Neither does I/O or reads a clock: text and bytes are
passed in.  To support another form of log line, start at ``reader._STAMP``.
"""

from harness.trace.catalogue import Catalogue, TraceEvent
from harness.trace.reader import TraceReader

__all__ = ["Catalogue", "TraceEvent", "TraceReader"]
