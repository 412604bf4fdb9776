"""REF-1: a second packet with one index is refused, while the first is still queued as after it
was loaded.

Which of two came second is not known where they came on two channels; either may be.
"""

from harness.check import refusal

RULE = refusal.rule("REF-1", "A second packet with one index is refused")
