"""The **commands** of ``vfio-multifd``, one file each: its arguments and what it does.

A file has ``add(parser)`` and ``run(options)``, which gives the exit status; ``program``
imports it when its command is called, so that a command pays for its own imports only.
``arguments`` and ``device_argument`` are shared; ``program`` parses, calls and reports
errors; ``output`` is where they go.  Copy ``show``.

May import everything below it; only ``cli`` imports it.
"""
