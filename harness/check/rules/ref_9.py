"""REF-9: a packet is refused whose idstr is unknown or not terminated, or whose instance id is
not the device's.
"""

from harness.check import refusal

RULE = refusal.rule("REF-9", "A packet for an unknown idstr or instance is refused")
