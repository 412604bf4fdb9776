"""One **QEMU process** and its monitor; who launches it owns its death.

``builds`` finds and probes builds, ``command_line`` says how one is started, ``process``
starts and ends it, ``qmp`` talks to it (the only file that knows qemu.qmp), ``vm`` puts
these together, ``migration`` has the QMP commands of one migration.  After QEMU's own
``machine.py``, without its swallowed failures.
"""
