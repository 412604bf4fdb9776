"""What a scenario can **attach** to a QEMU; each kind brings options and cleans up.

To add a kind: copy ``mdev.py``, name it in ``attachments.py``, and give
``harness.scenario`` a struct for it.
"""
