"""REF-10: a channel whose packets have a wrong magic, version, flags or length is refused.

A length beyond the data eats what follows: waiting for more is right too; to complete is
not.
"""

from harness.check import refusal

RULE = refusal.rule("REF-10", "A damaged channel is refused")
