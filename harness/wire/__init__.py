"""The **wire**: a sans-IO codec of multifd channels; bytes in, packets out, and back.

Never reads a socket, never waits, and never holds more than a stated limit.  Layouts are
those of ``migration/multifd.h`` and ``hw/vfio/migration-multifd.c`` of QEMU 10.0 and
later; all integers are big-endian.  After h11's model.
"""
