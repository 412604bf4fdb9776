"""Sets header fields (``fault_plan.Fields``)."""

from dataclasses import replace
from typing import Any

from harness.scenario.fault_plan import Fields
from harness.wire.packets import IDSTR_SIZE, DeviceStatePacket


def with_fields(packet: DeviceStatePacket, fields: Fields) -> DeviceStatePacket:
    """``packet`` with the values of those ``fields`` that are set."""
    changes: dict[str, Any] = {
        name: value
        for name in fields.__struct_fields__
        if (value := getattr(fields, name)) is not None
    }
    if fields.idstr is not None:
        changes["idstr"] = fields.idstr.encode().ljust(IDSTR_SIZE, b"\0")[:IDSTR_SIZE]
    return replace(packet, **changes)


def with_payload(packet: DeviceStatePacket, payload: bytes) -> DeviceStatePacket:
    """``packet`` with ``payload`` in place of VFIO's header and data."""
    return replace(packet, idx=None, data=payload, state_flags=0, state_version=0)
