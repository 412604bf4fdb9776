"""A **history** is all that was recorded in one run: one :class:`Record` per line.

``records`` has the record; ``device``, ``process``, ``guest``, ``session`` and ``wire`` have the
fields of the records, a class for each name; ``contract`` checks a history against these classes.
``rundir`` has the run directory that a history is kept in and can be judged from again.
"""

from harness.history import device, guest, process, session, wire
from harness.history.records import Args, Body, Event, Kind, Record, Side, plain

__all__ = [
    "Args",
    "Body",
    "Event",
    "Kind",
    "Record",
    "Side",
    "device",
    "guest",
    "plain",
    "process",
    "session",
    "wire",
]
