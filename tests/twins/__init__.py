"""**Twins**: broken QEMUs, each a change of a good history, that the rules must catch.

``twin`` says what a twin is, ``damage`` has what they are made with, and each of the other files
has the twins of one kind of run.  A twin that belongs to one rule only may be in the test of that
rule (anchor file: ``tests/unit/check/rules/test_ord_7.py``).  ``tests/unit/twins`` shows each to
the judge.
"""

from tests.twins import faults, guests, kernel, lives, sides, tls, transfer
from tests.twins.twin import TWINS, Twin

__all__ = ["TWINS", "Twin", "faults", "guests", "kernel", "lives", "sides", "tls", "transfer"]
