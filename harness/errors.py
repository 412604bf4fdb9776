"""Everything the harness raises on purpose.

::

    HarnessError                  one line for the user: what, where, what to do
    +-- PrerequisiteMissing       this machine or build lacks something named  (exit 3)
    |   `-- CannotRunHere         what one scenario needs; others can be run
    +-- UsageError                the caller asked for something impossible    (exit 3)
    +-- VMError                   a QEMU could not be used                     (exit 3)
    |   +-- LaunchError           it never reached its monitor
    |   +-- LostVM                its monitor or process went away
    |   +-- QmpTimeout            a command got no answer within its limit
    |   `-- QmpError              a command was answered with an error
    +-- NotifError                the seccomp supervisor
    +-- WireError                 a channel's bytes: side, channel, offset
    +-- TraceError                trace-events-all or a trace log
    `-- HistoryError              a run directory: format, version, damage

A requirement that QEMU does not keep is not an exception: it is a finding in a
verdict (``harness.check``).  Exit statuses of the runner: 0 valid, 1 violated,
2 unknown, 3 the harness or a machine was lost.
"""


class HarnessError(Exception):
    """Base of all; ``str()`` is one line fit for the user.

    Exit status 3 at the command line: it says nothing about the QEMU under test.
    """


class PrerequisiteMissing(HarnessError):
    """Something that has to be installed, built in or allowed is not there."""


class CannotRunHere(PrerequisiteMissing):
    """This machine or build lacks what a scenario needs; another scenario may do without it."""


class UsageError(HarnessError):
    """An option, a scenario file or a combination of settings cannot be used."""


class VMError(HarnessError):
    """A QEMU process or its monitor could not be used."""


class LaunchError(VMError):
    """QEMU ended, or said nothing, before its monitor was ready."""


class LostVM(VMError):
    """QEMU's process or monitor went away while it was needed."""


class QmpTimeout(VMError):
    """A QMP command got no answer within its limit; it may still have run."""


class QmpError(VMError):
    """QEMU answered a QMP command with an error.

    :ivar command: the QMP command's name
    :ivar error_class: QEMU's error class, mostly ``GenericError``
    :ivar desc: QEMU's own words
    """

    def __init__(self, command: str, error_class: str, desc: str) -> None:
        super().__init__(f"{command}: {desc}")
        self.command = command
        self.error_class = error_class
        self.desc = desc


class NotifError(HarnessError):
    """The seccomp supervisor could not be set up or could not answer."""


class WireError(HarnessError):
    """A migration channel's bytes are not what they must be; names side, channel and offset."""


class TraceError(HarnessError):
    """trace-events-all or a trace log cannot be used."""


class HistoryError(HarnessError):
    """A run directory or a capture is damaged, of another format version, or incomplete."""
