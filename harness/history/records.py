"""The record: one thing that was seen, on one side, at one time.

What a record holds is its ``args``.  Of these five kinds they are typed, a class for each name:

=========  =================================  ================================================
kind       names                              recorded by
=========  =================================  ================================================
device     ``harness.history.device``         supervisor, vfio, devices
process    ``harness.history.process``        vm
guest      ``harness.history.guest``          vm, from the guest's console
session    ``harness.history.session``        session
wire       ``harness.history.wire``           proxy
=========  =================================  ================================================

The file is the kind and the class is the name: ``device.DataFd`` is the record ``data_fd`` of
kind ``device``.  Its fields are what is recorded; its docstring says when.  Who records writes
``Record.of(t_ns, side, device.DataFd(...), device_id)``; a reader asks for the class.

Of two kinds the names and arguments are QEMU's, and ``args`` is a dict:

=========  ==========================  ====================================================
kind       name                        args
=========  ==========================  ====================================================
trace      the trace event             its arguments under their names in trace-events-all
trace      ``?``                       ``line``: a line that no trace event of the build fits
qmp        the event, e.g. MIGRATION   its data
qmp        ``execute``                 ``command``, ``arguments``
qmp        ``return``, ``error``       ``command``, ``value`` | ``class`` and ``desc``
=========  ==========================  ====================================================

A line of history.jsonl is a record in JSON: ``{"t_ns", "side", "kind", "name", "args", ...}``.
Times are CLOCK_REALTIME, because that is what QEMU stamps its trace lines and QMP events with.
"""

import enum
import re
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias

import msgspec

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # of mypy: a default, as in Python 3.13
else:
    from typing import TypeVar


class Side(enum.StrEnum):
    """Which of the two VMs a record is about, or the harness itself."""

    SOURCE = "source"
    DESTINATION = "destination"
    HARNESS = "harness"


class Kind(enum.StrEnum):
    """Who saw it."""

    TRACE = "trace"
    QMP = "qmp"
    DEVICE = "device"
    PROCESS = "process"
    SESSION = "session"
    WIRE = "wire"
    GUEST = "guest"


class Body(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What a record of a typed kind holds.  A field with a default may be absent in the file."""

    KIND: ClassVar[Kind]
    NAME: ClassVar[str]

    def __init_subclass__(cls, **config: Any) -> None:
        super().__init_subclass__(**config)
        cls.KIND = Kind(cls.__module__.rpartition(".")[2])
        cls.NAME = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


Args: TypeAlias = dict[str, Any]
"""What a record of ``trace`` or ``qmp`` holds."""

B = TypeVar("B", bound=Body)
if TYPE_CHECKING:
    A_co = TypeVar("A_co", bound=Args | Body, covariant=True, default=Args | Body)
else:
    A_co = TypeVar("A_co")  # noqa: PLC0105


class Record(msgspec.Struct, Generic[A_co], frozen=True, gc=False, omit_defaults=True):
    """One thing that was seen."""

    t_ns: int
    """CLOCK_REALTIME, ns since the epoch."""
    side: Side
    kind: Kind
    name: str
    args: A_co = msgspec.field(default_factory=dict)  # type: ignore[assignment]
    device: str = ""
    """Id of the scenario's device that it is about; empty: none."""
    tid: int = 0
    """Thread of QEMU that wrote it (trace only)."""
    channel: int = -1
    """Multifd channel, of ``tid`` or on the wire; -1: the main channel, none, or not known."""

    @staticmethod
    def of(t_ns: int, side: Side, args: B, device: str = "", channel: int = -1) -> "Record[B]":
        """The record that holds ``args``."""
        return Record(t_ns, side, args.KIND, args.NAME, args, device, 0, channel)


Event: TypeAlias = Record[Args]
"""A record of ``trace`` or ``qmp``."""


def plain(record: Record) -> Args:
    """What ``record`` holds, as it is in the file; for those who print any record."""
    args = record.args
    return args if isinstance(args, dict) else msgspec.to_builtins(args)
