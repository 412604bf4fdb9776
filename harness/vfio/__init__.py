"""The emulated VFIO **device**, pure: what it answers, never how the answer travels.

Sans-IO: a handler takes an ioctl's number and argument address and a view of the
target's memory, and returns an :class:`~harness.vfio.answer.Answer` that says what to
write where; ``harness.supervisor`` carries it out.  Time goes out as a delay, file
descriptors as a request to install one.  Imports only ``scenario``, ``history`` and
``errors``.  After h11's model: no bytes are read here.
"""
