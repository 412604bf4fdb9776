"""One small file for each fault of ``harness.scenario.fault_plan``, of its tag's name.

A fault (``base.Fault``) gets events and answers with commands.  It does no I/O, reads no
clock and has no randomness of its own: a delay is the command ``After``, a random generator
is passed in.  Copy ``drop`` for a new one.  After mitmproxy's addons.
"""
