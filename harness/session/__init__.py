"""A **session** runs one scenario: the one place that knows all parts.

Scenario in, history out.  What QEMU does wrong is recorded and left to the verdict; what
keeps the harness from running it at all is raised (``harness.errors``).

``session`` has the phases; ``peer`` is one side (its QEMU, devices, build and trace),
``log`` where all of it is recorded, ``link`` the relay between the two, ``actions`` what
the scenario does to them meanwhile.
"""
