"""The **wire**: a sans-IO codec of migration channels; bytes in, packets out, and back.

``packets`` has the layouts of a multifd channel, ``framing`` finds where its packets begin
and end, ``channel`` reads complete packets; ``main_channel`` reads the main channel.  None
reads a socket or waits, and none holds more than a stated limit.  Layouts are those of
``migration/multifd.h`` and ``hw/vfio/migration-multifd.c`` of QEMU 10.0 and later; all
integers are big-endian.  After h11.
"""
