"""The **model**: what a correct QEMU does, written from the specification.

It judges nothing and sees no history; ``harness.check`` compares the two.  It shares no code with
what is judged: no ``wire``, ``trace``, ``vfio``, ``proxy``, ``supervisor`` or ``vm``.  No I/O, no
clock.

``expectation`` is how a scenario must end and on which path its state travels, ``settings`` which
settings the model knows, ``buffers`` in which packets the state travels.  ``reassembly`` is one
device's queue at the destination (anchor file: it explains the central idea).  ``delivery`` is
what the destination was given after faults, and ``prediction`` what must follow from it.
``device_states`` has the arcs of VFIO migration.
"""
