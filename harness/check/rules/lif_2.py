"""LIF-2: channels that close before the state is whole make the migration fail within seconds.

Within seconds: before the scenario's deadline.  Channels that close once all packets were
delivered may come too late to matter.
"""

from harness.check import refusal

RULE = refusal.rule("LIF-2", "Channels that close before the state is whole are refused")
