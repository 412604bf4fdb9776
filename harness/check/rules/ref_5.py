"""REF-5: a packet with the index 0xFFFFFFFF is refused."""

from harness.check import refusal

RULE = refusal.rule("REF-5", "Index 0xFFFFFFFF is refused")
