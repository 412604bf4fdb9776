"""Lines of a history, for the tests of its types."""

from typing import Any

import msgspec

from harness.history import Event, Kind, Record, Side, contract
from harness.history.records import Body
from tests.unit.check.histories import scenario


def read(kind: Kind, name: str, /, **args: Any) -> Body:
    """What the line with ``args`` holds, once it was read and checked."""
    fields = {"t_ns": 5, "side": "source", "kind": kind, "name": name, "args": args}
    event = msgspec.json.decode(msgspec.json.encode(fields), type=Event)
    (record,) = contract.typed([event], "h")
    contract.check([record], scenario(), "h")
    assert isinstance(record.args, Body)
    return record.args


def written(args: Body) -> dict[str, Any]:
    """``args`` as the line has them."""
    line = msgspec.json.encode(Record.of(5, Side.SOURCE, args))
    return msgspec.json.decode(line).get("args", {})
