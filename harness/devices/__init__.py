"""What a scenario can **attach** to a QEMU.

``harness.scenario.devices`` has a struct for each kind of device; here is a file named after its
tag, with the class that makes the devices of one QEMU, gives QEMU's options for them, and leaves
the machine as it was (``of_kind``: what a class must have, and what it may have).  ``attachments``
finds the class by that name and joins all kinds; nothing else knows which kinds there are.
Anchor file for a new kind: ``mdev``; docs/extending.md has the steps.
"""
