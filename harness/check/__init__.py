"""The **check**: judges a history against the requirements and gives a **verdict**.

``judge.judge(history)`` is the door.  It goes straight: the ``evidence`` is the history, grouped,
with what must follow from the scenario (``model``), from what faults delivered
(``prediction_input``) and from what stopped the migration (``interruption``).  The
``assumptions`` are checked first, then each **rule** (one requirement; ``rules/``, listed by hand
in ``judge``) gives a finding: VALID, VIOLATED with the records that contradict each other, or
UNKNOWN with why; or it does not apply (``verdict``).  Nothing observed is never VALID.

What several rules share is in files of its own: ``refusal`` judges what must be refused,
``hang`` says who waits for what, ``planned`` whether the scenario's plan was seen to happen.
``deviations`` knows what QEMU versions are known to do against a requirement.

Imports ``model``, ``history``, ``scenario`` and ``errors`` only, and shares no code with
what it judges: no ``wire``, ``trace``, ``vfio``, ``proxy``, ``supervisor`` or ``vm``.
No clock and no I/O, so that a history judged next year gives the same verdict.

To add a rule: copy ``rules/ord_7.py`` and its test, which has a broken twin of QEMU that the rule
must catch, and list it in ``judge``.
"""
