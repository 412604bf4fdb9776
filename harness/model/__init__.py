"""The **model**: what a right QEMU does, written from the specification.

It judges nothing and sees no history; ``harness.check`` compares the two.  Imports
``history``, ``scenario`` and ``errors`` only, and shares no code with what it judges:
no ``wire``, ``trace``, ``vfio``, ``proxy``, ``supervisor`` or ``vm``.  No I/O, no clock.

``expectation`` says how a scenario must end and on which path its state travels,
``buffers`` in which packets; ``reassembly`` is one device's queue at the destination
(anchor file: the hard idea is explained there); ``delivery`` says what the destination was
given where faults stood on the way, and ``prediction`` what must follow from it;
``device_states`` has the arcs of VFIO migration.
"""
