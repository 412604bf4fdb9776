"""Whether records have what their names promise.

A record of a typed kind promises the fields of its type; of ``trace`` and ``qmp`` the arguments
below are promised, on which rules rely.  This is checked once, where records come from: a saved
history when it is loaded, a new one before it is judged.  A record that breaks its promise is a
damaged history, or a trace event whose format differs in that QEMU.  Whatever a rule fails on
after that is a bug of the rule.

Other names promise nothing: a reader has to cope with any arguments.
"""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec

from harness.errors import HistoryError
from harness.history import device, guest, process, session, wire
from harness.history.records import Body, Kind, Record
from harness.scenario import Scenario
from harness.scenario.fault_plan import Fault

_IDX = {"idx": int}
_NUMBERED = {"id": int}
_CHANNEL = {"ioctype": str}
_COMMAND = {"command": str}
_PROMISED: dict[tuple[Kind, str], dict[str, Any]] = {
    (Kind.TRACE, "vfio_load_state_device_buffer_incoming"): _IDX,
    (Kind.TRACE, "vfio_load_state_device_buffer_starved"): _IDX,
    (Kind.TRACE, "vfio_load_state_device_buffer_load_start"): _IDX,
    (Kind.TRACE, "vfio_load_state_device_buffer_load_end"): _IDX,
    (Kind.TRACE, "vfio_load_state_device_data"): {"data_size": int},
    (Kind.TRACE, "vfio_save_block"): {"data_size": int},
    (Kind.TRACE, "vfio_save_setup"): {"data_buffer_size": int},
    (Kind.TRACE, "vfio_migration_set_device_state"): {"state": str},
    (Kind.TRACE, "multifd_recv_thread_start"): _NUMBERED,
    (Kind.TRACE, "multifd_recv_thread_end"): {"id": int, "packets": int},
    (Kind.TRACE, "multifd_recv_unfill"): _NUMBERED,
    (Kind.TRACE, "multifd_send_thread_end"): _NUMBERED,
    (Kind.TRACE, "migration_set_incoming_channel"): _CHANNEL,
    (Kind.TRACE, "migration_set_outgoing_channel"): _CHANNEL,
    (Kind.TRACE, "multifd_set_outgoing_channel"): _CHANNEL,
    (Kind.TRACE, "migrate_pending_exact"): {"size": int},
    (Kind.TRACE, "migrate_pending_estimate"): {"size": int},
    (Kind.TRACE, "migrate_transferred"): {"size": int},
    (Kind.TRACE, "qemu_savevm_query_pending"): {"total": int},
    (Kind.QMP, "MIGRATION"): {"status": str},
    (Kind.QMP, "VFIO_MIGRATION"): {"device-state": str},
    (Kind.QMP, "execute"): _COMMAND,
    (Kind.QMP, "return"): _COMMAND,
    (Kind.QMP, "error"): _COMMAND,
}
_OBJECTS = ("query-status", "query-migrate")
"""Commands whose value is an object."""
_FAULTS = frozenset(str(kind.__struct_config__.tag) for kind in get_args(Fault))

BODIES: Mapping[tuple[Kind, str], type[Body]] = {
    (of.KIND, of.NAME): of
    for module in (device, process, guest, session, wire)
    for of in vars(module).values()
    if isinstance(of, type) and issubclass(of, Body) and of is not Body and not of.__subclasses__()
}
"""What a record of a typed kind holds, by kind and name."""
_UNTYPED = {Kind.TRACE: frozenset({"?"}), Kind.QMP: frozenset({"execute", "return", "error"})}
NAMES: Mapping[Kind, frozenset[str]] = {
    kind: _UNTYPED.get(kind) or frozenset(name for of, name in BODIES if of is kind)
    for kind in Kind
}
"""The names of each kind; of ``trace`` and ``qmp`` those that are not QEMU's."""

_ARGUMENTS: dict[str, tuple[Kind, type[Any]]] = {
    name: (
        kind,
        msgspec.defstruct(
            name,
            [(key.replace("-", "_"), of, msgspec.field(name=key)) for key, of in promised.items()],
            kw_only=True,
            gc=False,
        ),
    )
    for (kind, name), promised in _PROMISED.items()
}
_TYPED = {name: (kind, of) for (kind, name), of in BODIES.items()}


def typed(events: Sequence[Record], origin: str) -> list[Record]:
    """The records of a file, those of typed kinds with their types.

    :param events: as they were read, in the order of the file ``origin``, one per line
    :raise HistoryError: one has not what its type demands; the message names its line
    """
    types, convert, found = _TYPED, msgspec.convert, list(events)
    for number, event in enumerate(events):
        of = types.get(event.name)
        if of is not None and of[0] is event.kind:
            try:
                args = convert(event.args, of[1])
            except msgspec.ValidationError as error:
                raise _broken(origin, number, event, str(error)) from None
            found[number] = Record(
                event.t_ns, event.side, event.kind, event.name, args, event.device, event.tid,
                event.channel,
            )  # fmt: skip
    return found


def check(records: Sequence[Record], scenario: Scenario, origin: str) -> None:
    """Check that each record of QEMU has the arguments that its name promises, and that all
    records fit ``scenario``.

    :param records: in the order of the file ``origin``, one record per line
    :raise HistoryError: one does not; the message names its line
    """
    arguments, convert = _ARGUMENTS, msgspec.convert
    for number, record in enumerate(records):
        if type(record.args) is dict:
            promised = arguments.get(record.name)
            if promised is None or promised[0] is not record.kind:
                continue
            try:
                convert(record.args, promised[1])
            except msgspec.ValidationError as error:
                raise _broken(origin, number, record, str(error)) from None
        if why := _strange(record, scenario):
            raise _broken(origin, number, record, why)


def _broken(origin: str, number: int, record: Record, why: str) -> HistoryError:
    return HistoryError(
        f"{origin}: line {number + 1}: {record.kind} {record.name}: {why}; "
        "a record is not as its name promises (harness.history.records)"
    )


def _strange(record: Record, scenario: Scenario) -> str:
    """What is wrong with a record whose values are all of their types; empty if nothing is."""
    args = record.args
    if isinstance(args, dict):
        is_object = isinstance(args.get("value"), dict)
        is_known = record.name == "return" and args.get("command") in _OBJECTS
        return "" if is_object or not is_known else "its value is no object"
    match args:
        case session.Faults(fired=fired):
            return "" if len(fired) == len(scenario.faults) else "not a number for each fault"
        case wire.Fault(fault=fault) if fault not in _FAULTS:
            return f"{fault}: no such fault"
        case wire.Fault(position=position):
            is_there = 0 <= position < len(scenario.faults)
        case session.Action(position=position) | session.ActionEnded(position=position):
            is_there = 0 <= position < len(scenario.actions)
        case _:
            return ""
    return "" if is_there else "the scenario has no such position"
