"""One small file for each fault of ``harness.scenario.fault_plan``.

A fault (``base.Fault``) is told of events and answers with commands.  It does no I/O,
reads no clock and has no randomness of its own: delays go out as ``After``, a random
generator is handed in.  After mitmproxy's addons.
"""
