"""The command line of a QEMU, with a comment for each unusual option."""

from collections.abc import Sequence
from pathlib import Path

RESET_VECTOR = 0xFFF0
FIRMWARE_SIZE = 1 << 16


def firmware() -> bytes:
    """A BIOS that halts at once: the VM runs, as a device's PRE_COPY needs, at no cost.

    ``cli; hlt; jmp hlt`` at the reset vector.
    """
    image = bytearray(FIRMWARE_SIZE)
    image[RESET_VECTOR : RESET_VECTOR + 4] = b"\xfa\xf4\xeb\xfd"
    return bytes(image)


def build(
    binary: str,
    *,
    machine: str,
    ram_mib: int,
    monitor_fd: int,
    boot: Sequence[str],
    more: Sequence[str] = (),
    devices: Sequence[str],
    trace: Sequence[str],
    trace_folder: Path,
    is_incoming: bool,
    has_monitor_object: bool = False,
) -> list[str]:
    """The command line of one side.

    :param boot: options for what it boots
    :param more: what the scenario adds; in front of the devices, which may be behind an IOMMU or a
        port of it
    :param devices: options of the devices
    :param has_monitor_object: whether the build has ``-object monitor-qmp``; then ``-mon`` is
        deprecated
    """
    return [
        binary,
        # No default devices and no files of /etc/qemu: the same machine everywhere.
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-name", "debug-threads=on"),  # a backtrace of a hang has the threads' names
        *("-machine", machine),
        # TCG runs on any host; the small buffer keeps it off the memory limit.
        *("-accel", "tcg,tb-size=8"),
        *("-m", f"{ram_mib}M"),
        *boot,
        # The monitor is an inherited socket: it has no path, and no other process can connect.
        *("-chardev", f"socket,id=qmp,fd={monitor_fd}"),
        *(
            ("-object", "monitor-qmp,id=monitor,chardev=qmp")
            if has_monitor_object
            else ("-mon", "chardev=qmp,mode=control")
        ),
        *more,
        *devices,
        # Without the timestamp a trace line has no time.  One file for each thread, named by its
        # id: from QEMU 11.0 on the lines no longer have the thread (util/log.c).
        *("-msg", "timestamp=on"),
        *(option for pattern in trace for option in ("-trace", pattern)),
        *("-d", "tid", "-D", f"{trace_folder}/%d.log"),
        # defer: capabilities are set before the destination listens.
        *(("-incoming", "defer") if is_incoming else ()),
    ]
