"""Settings of all tests."""

import signal

from hypothesis import settings

# A shell that starts pytest in the background has it ignored; tests interrupt what they call,
# and themselves.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# How long an example takes says something about the machine, not about the code.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")
