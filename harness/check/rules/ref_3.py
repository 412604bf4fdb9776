"""REF-3: a payload shorter than VFIO's 12-byte header is refused.

Exactly 12 bytes are an empty buffer, which is legal: the migration then completes, and
RUN and the ORD rules judge it.
"""

from harness.check import refusal

RULE = refusal.rule("REF-3", "A packet shorter than its header is refused")
