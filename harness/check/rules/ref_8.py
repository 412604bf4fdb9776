"""REF-8: a configuration with a wrong marker, cut short or too long is refused, once it is loaded
or before.
"""

from harness.check import refusal

RULE = refusal.rule("REF-8", "A damaged configuration is refused")
