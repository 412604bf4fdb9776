"""REF-2: a packet for a device whose state uses the main channel is refused."""

from harness.check import refusal

RULE = refusal.rule("REF-2", "A packet for a device without multifd transfer is refused")
