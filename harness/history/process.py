"""What was seen of a QEMU's process."""

from typing import Literal

from harness.history.records import Body


class Launched(Body, frozen=True):
    """It was started."""

    argv: list[str]
    pid: int


class Exited(Body, frozen=True):
    """It has ended; recorded once for each process that was not handed over."""

    status: int
    """Exit code; -1 if a signal ended it."""
    signal: int
    """0 if none ended it."""
    asked: bool
    """Whether the harness had asked it to end, or ended it."""


class HandedOver(Body, frozen=True):
    """It runs on, into the next migration; for this one this is its end."""


class Signalled(Body, frozen=True):
    """The harness sent it a signal."""

    signal: int


class Memory(Body, frozen=True):
    """Its resident set (proc(5))."""

    hwm_kib: int
    """VmHWM: its high-water mark since it was started."""
    rss_kib: int | None = None
    """VmRSS: now; None in runs of the first harness."""
    at: Literal["booted", "migrating", "ended"] | None = None
    """The phase, ``migrating`` from time to time; None in runs of the first harness."""


class Resources(Body, frozen=True):
    """What it holds; recorded where one QEMU makes more than one migration."""

    at: Literal["booted", "ended"]
    """Before the migration, or after it."""
    descriptors: dict[str, int]
    """What they refer to, without numbers (proc_pid_fd(5)) -> how many."""
    threads: dict[str, int]
    """Name -> how many."""


class DataFds(Body, frozen=True):
    """Data_fds of emulated devices that it has open after the migration; recorded if a device
    gives the wrong number of them.
    """

    open: int


class Stderr(Body, frozen=True):
    """One line of its standard error or output; all are recorded after its end."""

    line: str


class ZeroCopySends(Body, frozen=True):
    """What it has sent with MSG_ZEROCOPY until its end; recorded if the scenario has
    zero-copy-send.
    """

    count: int
    """Calls of sendmsg."""
    sockets: int
    """By how many sockets."""


class Hung(Body, frozen=True):
    """It did not do what was waited for."""

    waiting_for: str
    backtrace: str
    """Of all threads, by gdb."""
    main_loop_alive: bool | None = None
    """Whether it answered on its monitor; None if it was not asked."""
    monitor_alive: bool | None = None
    """Whether it answered out-of-band; None if it was not asked."""
