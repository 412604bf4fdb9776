"""The **check**: judges a history against the requirements and gives a **verdict**.

``judge.judge(history)`` is the entry point.  The ``evidence`` is the history, grouped, with what
must follow from the scenario (``model``), from what faults delivered (``prediction_input``) and
from what stopped the migration (``interruption``).  The ``assumptions`` are checked first.  Then
each **rule** (one requirement; ``rules/``, listed by hand in ``judge``) gives a finding: VALID,
VIOLATED with the records that contradict the requirement, or UNKNOWN with the reason; or the
requirement does not apply (``verdict``).  A rule that observed nothing never gives VALID.

Code that several rules share has its own files: ``refusal`` judges packets that must be refused,
``hang`` finds what waits for what, ``planned`` checks that the scenario's plan was carried out.
``deviations`` has the known violations of requirements by QEMU versions.

It imports ``model``, ``history``, ``scenario`` and ``errors`` only, and shares no code with
what it judges: no ``wire``, ``trace``, ``vfio``, ``proxy``, ``supervisor`` or ``vm``.
It has no clock and does no I/O, so that a history gives the same verdict at any later time.

To add a rule: copy ``rules/ord_7.py`` and its test, which has a broken twin of QEMU that the rule
must catch, and list it in ``judge``.
"""
