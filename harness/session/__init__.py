"""A **session** runs one migration: here the QEMUs, their devices and the relay come together.

It takes a scenario and gives a history.  What QEMU does wrong is recorded and left to the
verdict; what keeps the harness from making the migration at all is raised (``harness.errors``).

``session`` has the phases.  ``source`` is the role of the source, which a QEMU or a capture
plays; ``peer`` is one side (its QEMU, devices, build and trace); ``link`` is the relay between
the two.  ``log`` takes the records of all of them.  ``actions`` does what the scenario plans
while the QEMUs migrate, ``ending`` waits for their end.
"""
