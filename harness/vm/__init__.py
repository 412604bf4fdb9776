"""One **QEMU process** and its monitor.  The part that launches a process also ends it.

``builds`` finds and probes builds, ``command_line`` makes the arguments, ``process`` starts and
ends QEMU, ``qmp`` has its monitor (the only file that imports qemu.qmp), ``vm`` puts these
together, ``migration`` has the QMP commands of one migration.  It follows QEMU's own
``machine.py``, but reports each failure.
"""
