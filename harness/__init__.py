"""VFIO multifd migration test harness.

Boots a source and a destination QEMU with VFIO devices, moves the devices' state
over multifd, records everything as one history and judges that history against a
reference model of the reassembly.  The nouns (scenario, session, history, rule,
verdict) each have their own module or package.
"""

__version__ = "0.1.0"

PROGRAM = "vfio-multifd"
"""Name of the command line, as in messages and reports."""
