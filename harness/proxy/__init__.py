"""The **proxy** is between source and destination, and may damage what passes.

The way of a device-state packet, from the source's socket to a fault and out again:

1. ``relay``: one thread waits for all sockets.  The source's socket of a connection is
   ready to be read.
2. ``connection``: its first bytes have shown what it is, and so which forwarder reads it:
   ``main_forwarder``, a ``multifd_forwarder``, or a plain ``forwarder`` for anything else.
3. ``multifd_forwarder``: ``wire.framing`` parses heads.  Pages of RAM go straight to the
   outlet by ``splice(2)``.  Without faults the data of device state does too (``cut_through``):
   the packet is recorded, and the rest of this list does not concern it.
4. ``store_and_forward``: with faults, the packet is collected, recorded as ``packet_in``, and
   fed to the executor as the event ``Arrived``.
5. ``executor`` gives events to the chain, one at a time.
6. ``chain`` gives the event to the first fault, which answers with commands
   (``faults``).  A packet that it delivers arrives at the next fault.
7. ``executor`` carries out what comes out of the last fault: ``Deliver`` goes to the
   connection of that channel.
8. ``connection`` writes the packet to its outlet, or defers it while pages are partly out.
9. ``outlet`` sends what the socket takes and holds the rest.  When the last byte has gone,
   the packet is recorded as ``packet_out``.

Everything else takes part of the same way: a hello enters at 3 and leaves at 8, the main
channel's switchover and ``Relay.notify`` enter at 5 as ``Notified``.

The relay does the I/O and never waits on a QEMU; chain and faults do none.  What is seen
goes to ``recorder``.  ``capture`` writes down all that a source sent, ``replay`` plays it
to a destination.  To add a fault, copy ``faults/drop.py``.  After mitmproxy's ``proxy``.
"""
