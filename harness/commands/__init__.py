"""The **commands** of ``vfio-multifd``, one file each: its arguments and what it does.

A file has ``add(parser)`` and ``run(options)``, which returns the exit status; ``program``
imports it when its command is called, so that a command imports only what it needs.
``arguments`` and ``device_argument`` are shared; ``program`` parses, calls and reports
errors; ``output`` prints them.  Anchor file for a new command: ``show``.

It may import everything below it; only ``cli`` imports it.
"""
