"""What of a record's ``args`` those who judge rely on, and whether it is there.

Checked once, where records come from: a saved history as it is loaded, a new one before it is
judged.  A record that is not as its name promises is then a damaged history, or a trace event
that a QEMU writes otherwise; what a rule stumbles over after that is a bug of the rule.

Names that are not here promise nothing: who reads them has to cope with what is there.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

import msgspec

from harness.errors import HistoryError
from harness.history.records import Kind, Record
from harness.scenario import Scenario
from harness.scenario.fault_plan import Fault

_IDX = {"idx": int}
_NUMBERED = {"id": int}
_CALL = {"offset": int, "asked": int, "got": int, "errno": int}
_BYTES = {"bytes": int, "digest": str}
_HEX = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{2})*$")]
_PACKET = {
    "idx": int | None,
    "state_flags": int,
    "instance_id": int,
    "size": int,
    "digest": str,
    "idstr": _HEX,
    "marker": str,
}
_CHANNEL = {"ioctype": str}
_FAULTS = tuple(str(kind.__struct_config__.tag) for kind in get_args(Fault))

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
    (Kind.QMP, "execute"): {"command": str},
    (Kind.QMP, "return"): {"command": str},
    (Kind.QMP, "error"): {"command": str},
    (Kind.DEVICE, "arc"): {"state": str, "errno": int},
    (Kind.DEVICE, "read"): _CALL,
    (Kind.DEVICE, "write"): _CALL,
    (Kind.DEVICE, "sent"): _BYTES,
    (Kind.DEVICE, "not_compared"): {"what": str, "why": str},
    (Kind.DEVICE, "received"): {
        **_BYTES,
        "expected_bytes": int,
        "expected_digest": str,
        "first_difference": int,
    },
    (Kind.DEVICE, "config"): {"command": int},
    (Kind.DEVICE, "unknown_ioctl"): {"number": str},
    (Kind.PROCESS, "exited"): {"status": int, "signal": int, "asked": bool},
    (Kind.PROCESS, "memory"): {"hwm_kib": int, "rss_kib": int},
    (Kind.PROCESS, "hung"): {"main_loop_alive": bool, "monitor_alive": bool},
    (Kind.GUEST, "round"): {"round": int, "memory": str, "devices": dict[str, str]},
    (Kind.GUEST, "gave_up"): {"why": str},
    (Kind.SESSION, "action"): {"position": int},
    (Kind.SESSION, "continued"): {"after": str},
    (Kind.SESSION, "deadline"): {"deadline_s": float},
    (Kind.SESSION, "not_converged"): {"deadline_s": float},
    (Kind.SESSION, "faults"): {"fired": list[int]},
    (Kind.SESSION, "guest_config"): {"registers": dict[str, Any]},
    (Kind.SESSION, "guest_serial"): {"port": int, "registers": dict[str, Any]},
    (Kind.WIRE, "channel_opened"): {"kind": str},
    (Kind.WIRE, "delivered"): _BYTES,
    (Kind.WIRE, "fault"): {"fault": Literal[_FAULTS], "position": int, "what": str},
    (Kind.WIRE, "hello_out"): {"magic": int, "version": int, "channel_id": int, "uuid": str},
    (Kind.WIRE, "packet_in"): _PACKET,
    (Kind.WIRE, "packet_out"): _PACKET,
    (Kind.WIRE, "packet_lost"): _PACKET,
}
_DEFAULT: dict[str, Any] = {
    "idstr": "",
    "marker": "",
    "rss_kib": 0,
    "deadline_s": 0.0,
    "main_loop_alive": True,
    "monitor_alive": True,
}
"""What may be absent."""
_NEEDED = msgspec.NODEFAULT
_OBJECTS = ("query-status", "query-migrate")
"""Commands whose value is an object."""

_TYPES: dict[tuple[Kind, str], type[Any]] = {
    (kind, name): msgspec.defstruct(
        name,
        [
            (key.replace("-", "_"), of, msgspec.field(name=key, default=_DEFAULT.get(key, _NEEDED)))
            for key, of in promised.items()
        ],
        kw_only=True,
        gc=False,
    )
    for (kind, name), promised in _PROMISED.items()
}


def check(records: Sequence[Record], scenario: Scenario, origin: str) -> None:
    """Whether each record has what its name promises, and fits ``scenario``.

    :param records: in the order of the file ``origin``, a record a line
    :raise HistoryError: one has not; names the line
    """
    types, convert = _TYPES, msgspec.convert
    for number, record in enumerate(records, 1):
        promised = types.get((record.kind, record.name))
        if promised is None:
            continue
        try:
            convert(record.args, promised)
            why = _strange(record, scenario)
        except msgspec.ValidationError as error:
            why = str(error)
        if why:
            raise HistoryError(
                f"{origin}: line {number}: {record.kind} {record.name}: {why}; "
                "a record is not as its name promises (harness.history.records)"
            )


def _strange(record: Record, scenario: Scenario) -> str:
    """What is wrong with a record though each of its values is of its type; "": nothing."""
    args = record.args
    if record.kind is Kind.QMP and record.name == "return":
        is_object = isinstance(args.get("value"), dict)
        return "" if is_object or args["command"] not in _OBJECTS else "its value is no object"
    if record.kind is Kind.SESSION and record.name == "faults":
        return "" if len(args["fired"]) == len(scenario.faults) else "not a number for each fault"
    if "position" not in args or record.kind not in (Kind.SESSION, Kind.WIRE):
        return ""
    plan = scenario.actions if record.kind is Kind.SESSION else scenario.faults
    return "" if 0 <= args["position"] < len(plan) else "the scenario has no such position"
