"""A **history** is all that was seen in one run: one :class:`Record` a line.

Leaf package: it imports nothing of the harness but ``errors``.  ``records`` has the
record type and the words that records use; ``rundir`` has the run directory that a
history is kept in and can be judged from again.
"""

from harness.history.records import Kind, Record, Side

__all__ = ["Kind", "Record", "Side"]
