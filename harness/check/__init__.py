"""The **check**: judges a history against the requirements and gives a **verdict**.

``judge.judge(history)`` is the door.  Assumptions come first (``assumptions``), then one
**rule** a requirement (``rules/``, listed by hand in ``judge``); each gives a finding:
VALID, VIOLATED with the records that contradict each other, or UNKNOWN with why
(``verdict``).  Nothing observed is never VALID.  Anchor file: ``rules/ord_1``.

Where faults stood on the way, ``delivered`` asks the model what must follow from what the
destination was given, and the rules go by that; ``refusal`` judges what must be refused.

Imports ``model``, ``history``, ``scenario`` and ``errors`` only, and shares no code with
what it judges: no ``wire``, ``trace``, ``vfio``, ``proxy``, ``supervisor`` or ``vm``.
No I/O, no clock: a history judged next year gives the same verdict.

To add a rule: copy ``rules/ord_7.py`` (of a refusal: ``rules/ref_4.py``), list it in
``judge``, and add a broken QEMU that it must catch to ``tests/twins``.
"""
