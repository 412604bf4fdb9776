"""The number and the sizes of the buffers of a device's stop-copy state (ORD-5).

The source asks the device for its size once, at set-up, and then reads buffers of at
most min(1 MiB, that size) until the device has no more.  Each read that
gives bytes makes one data packet (vfio_save_setup() in hw/vfio/migration.c and
vfio_multifd_save_complete_precopy_thread() in hw/vfio/migration-multifd.c).  Reads may
be short.
"""

from itertools import cycle

MOST = 1 << 20
"""VFIO_MIG_DEFAULT_DATA_BUFFER_SIZE."""


def buffer_size(reported: int) -> int:
    """Most bytes of one read, of a device that reports ``reported`` bytes.

    0 if the device reports 0.  That is an estimate and may be wrong (``vfio.h``), so the state
    must be transferred all the same, in buffers of any size.
    (QEMU 10.0 takes the empty buffer for a lack of memory and fails the migration.)
    """
    return min(MOST, reported)


def sizes(total: int, most: int, read_sizes: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Bytes of each buffer of ``total`` bytes, read ``most`` at a time.

    :param read_sizes: most bytes that the device gives for each read, in turn and over again
    """
    if not read_sizes:
        whole, rest = divmod(total, most) if total else (0, 0)
        return (most,) * whole + (rest,) * (rest > 0)
    found = []
    limits = cycle(read_sizes)
    while total:
        found.append(min(total, most, next(limits)))
        total -= found[-1]
    return tuple(found)
