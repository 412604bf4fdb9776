"""REF-7: a configuration that is not the last packet is refused.

That is one with an index that was taken already, one below data that is queued, a second
one, and data above its index.
"""

from harness.check import refusal

RULE = refusal.rule("REF-7", "A configuration that is not the last packet is refused")
