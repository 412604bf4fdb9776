"""One file per requirement, named by its id; each has a ``RULE`` (``harness.check.rule``).

``refusals`` and ``transfer_settings`` have several that are judged alike, each a line of a table.
``run_itself`` judges the run: did it end as it must, did either QEMU crash or hang.
Anchor file: ``ord_7``.
"""
