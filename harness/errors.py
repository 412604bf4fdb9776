"""Everything the harness raises on purpose.

::

    HarnessError                  one line for the user: what, where, what to do
    +-- PrerequisiteMissing       this machine or build lacks something named  (exit 3)
    |   `-- CannotRunHere         what one scenario needs; others can be run
    +-- UsageError                the caller asked for something impossible    (exit 4)
    +-- VMError                   a QEMU could not be used                     (exit 3)
    |   +-- LaunchError           it never reached its monitor
    |   +-- LostVM                its monitor or process went away
    |   +-- QmpTimeout            a command got no answer within its limit
    |   `-- QmpError              a command was answered with an error
    +-- DeviceLost                the server of a device, a program that is not under test
    +-- NotifError                the seccomp supervisor
    +-- WireError                 a channel's bytes: side, channel, offset
    +-- TraceError                trace-events-all or a trace log
    `-- HistoryError              a run directory: format, version, damage

A requirement that QEMU does not keep is not an exception: it is a finding in a
verdict (``harness.check``).  Exit statuses of the runner: 0 valid, 1 violated,
2 unknown, 3 the harness or a machine failed, 4 usage: another try gives the same error.
"""

import errno
import os
from typing import ClassVar

LOST, USAGE, INTERRUPTED = 3, 4, 130


class HarnessError(Exception):
    """Base of all; ``str()`` is one line for the user.

    :cvar exit_status: of the command; it says nothing about the QEMU under test
    """

    exit_status: ClassVar[int] = LOST


class PrerequisiteMissing(HarnessError):
    """Something that must be installed, built in or allowed is missing."""


class CannotRunHere(PrerequisiteMissing):
    """This machine or build lacks what a scenario needs; another scenario may do without it."""


class UsageError(HarnessError):
    """An option, a scenario file or a combination of settings cannot be used."""

    exit_status: ClassVar[int] = USAGE


class VMError(HarnessError):
    """A QEMU process or its monitor could not be used."""


class LaunchError(VMError):
    """QEMU ended or did not respond before its monitor was ready."""


class LostVM(VMError):
    """QEMU's process or monitor went away while it was needed."""


class QmpTimeout(VMError):
    """A QMP command got no answer within its limit; it may still have run."""


class QmpError(VMError):
    """QEMU answered a QMP command with an error.

    :ivar command: the QMP command's name
    :ivar error_class: QEMU's error class, mostly ``GenericError``
    :ivar desc: QEMU's description of the error
    """

    def __init__(self, command: str, error_class: str, desc: str) -> None:
        super().__init__(f"{command}: {desc}")
        self.command = command
        self.error_class = error_class
        self.desc = desc


class DeviceLost(HarnessError):
    """The server of a device is gone, does not answer, or breaks its protocol."""


class NotifError(HarnessError):
    """The seccomp supervisor could not be set up or could not answer."""


class WireError(HarnessError):
    """The bytes of a migration channel are invalid; names side, channel and offset."""


class TraceError(HarnessError):
    """trace-events-all or a trace log cannot be used."""


class HistoryError(HarnessError):
    """A run directory or a capture is damaged, of another format version, or incomplete."""


# -- errors of the system ----------------------------------------------------------------

SYSTEM_ERRORS = (OSError, MemoryError, OverflowError)
"""Python's exceptions for errors of the system, not of the harness."""

_BAD_PATH = frozenset(
    (
        errno.EACCES,
        errno.EEXIST,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ENOTEMPTY,
        errno.EPERM,
        errno.EROFS,
    )
)
_WHAT_TO_DO = {
    errno.EDQUOT: "free space in your quota, or write somewhere else",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close files: the limit of this machine is reached",
    errno.ENOMEM: "ask for smaller sizes, or free memory",
    errno.ENOSPC: "free space, or write somewhere else",
}


def in_words(error: BaseException) -> str:
    """``error`` in one line for the user, without the name of an exception: where, what, and, if it
    is known, what to do.
    """
    if isinstance(error, MemoryError):
        return f"{os.strerror(errno.ENOMEM)}: {_WHAT_TO_DO[errno.ENOMEM]}"
    if isinstance(error, OverflowError):
        return "a number is too large for the system: give smaller sizes and numbers"
    if not isinstance(error, OSError):
        return " ".join(str(error).split()) or "no reason is known"
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    said = error.strerror or str(error) or "no reason is known"
    to_do = _WHAT_TO_DO.get(error.errno or 0, "")
    return f"{where}{said}{f': {to_do}' if to_do else ''}"


def of_the_system(error: BaseException, doing: str = "") -> HarnessError:
    """The error to report for an unexpected one of ``SYSTEM_ERRORS``.

    :param doing: what was done, if the error does not say it
    """
    has_path = isinstance(error, OSError) and error.filename is not None
    is_usage = isinstance(error, OverflowError) or (has_path and is_bad_path(error))
    words = f"{doing}: {in_words(error)}" if doing else in_words(error)
    return (UsageError if is_usage else HarnessError)(words)


def refusal(doing: str, error: OSError) -> HarnessError:
    """The error to raise if the system refuses a path that the user gave.

    :param doing: the path and what failed, like ``x.html: cannot write the report``
    :return: a UsageError if the path is wrong; another error for a problem of the machine, such as
        a full disk
    """
    reason = in_words(OSError(error.errno, error.strerror or str(error)))
    return (UsageError if is_bad_path(error) else HarnessError)(f"{doing}: {reason}")


def of_a_part(what: str, failure: BaseException) -> BaseException:
    """The error to raise if ``what``, which runs in its own thread, ended with ``failure``: the
    failure itself if it is a bug of the harness, else one line.
    """
    if isinstance(failure, (HarnessError, *SYSTEM_ERRORS)):
        return VMError(f"{what} failed: {in_words(failure)}")
    return failure


def first_of(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a task group: one line for the user."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def is_bad_path(error: BaseException) -> bool:
    """Whether the path is wrong: another path, or other permissions, would help."""
    return isinstance(error, OSError) and error.errno in _BAD_PATH
