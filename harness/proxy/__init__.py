"""The **proxy** stands between source and destination, and may damage what passes.

``relay`` does the I/O, in a thread of its own; ``chain`` and ``faults`` decide, without
any.  Whole device-state packets go through a chain of faults: *events* in (a packet
arrived, a channel ended, something was told, a delay is over), *commands* out (deliver
this packet there, close that channel, wake me later).  What went in and what came out is
told to a recorder.  It never waits on a QEMU.  After mitmproxy's ``proxy``.
"""
