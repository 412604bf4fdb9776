"""REF-4: a packet whose VFIO header has another version than 0 is refused."""

from harness.check import refusal

RULE = refusal.rule("REF-4", "A packet of an unknown version is refused")
