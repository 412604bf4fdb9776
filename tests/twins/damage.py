"""Finding records of a history and changing them: what the broken twins are made with."""

from collections.abc import Iterable
from typing import Any

import msgspec

from harness.check import evidence as seen
from harness.history.records import Body, Record, plain


class Unfit(ValueError):
    """The history has nothing that could be damaged so."""


def pick(records: Iterable[Record], *names: str, **fields: Any) -> list[Record[Any]]:
    """The records with one of ``names``; ``fields`` are the record's own or its args."""
    return [record for record in records if fits(record, names, fields)]


def some(records: Iterable[Record], *names: str, **fields: Any) -> list[Record[Any]]:
    """The records with one of ``names``, of which there must be one.

    :raise Unfit: there is none
    """
    found = pick(records, *names, **fields)
    if not found:
        raise Unfit(f"no record {' or '.join(names)} with {fields}")
    return found


def one(records: Iterable[Record], *names: str, **fields: Any) -> Record[Any]:
    """The last of them.

    :raise Unfit: there is none
    """
    return some(records, *names, **fields)[-1]


def drop(records: list[Record], *names: str, **fields: Any) -> list[Record]:
    """All but those."""
    one(records, *names, **fields)
    return [record for record in records if not fits(record, names, fields)]


def change(old: Record, **fields: Any) -> Record:
    """A copy with other fields; those that a record does not have are args."""
    own = {name: value for name, value in fields.items() if name in Record.__struct_fields__}
    args = {name: value for name, value in fields.items() if name not in own}
    if isinstance(old.args, Body):
        return msgspec.structs.replace(old, **own, args=msgspec.structs.replace(old.args, **args))
    return msgspec.structs.replace(old, **own, args={**old.args, **args})


def held(record: Record) -> Any:
    """What a record of a typed kind holds."""
    return record.args


def swap(records: list[Record], old: Iterable[Record], **fields: Any) -> list[Record[Any]]:
    """The records with each of ``old`` changed."""
    ids = {id(record) for record in old}
    return [change(record, **fields) if id(record) in ids else record for record in records]


def first_device(records: list[Record]) -> str:
    """The device with most packets."""
    names = [record.device for record in pick(records, seen.INCOMING)]
    if not names:
        raise Unfit("no packet came in")
    return max(dict.fromkeys(names), key=names.count)


def recount(before: list[Record], after: list[Record]) -> list[Record]:
    """``after``, with the channels' own counts following packets that changed channel."""
    for end in pick(after, "multifd_recv_thread_end"):
        was, is_now = (
            len(pick(records, seen.INCOMING, channel=end.channel)) for records in (before, after)
        )
        after = swap(after, [end], packets=plain(end)["packets"] + is_now - was)
    return after


def fits(record: Record, names: tuple[str, ...], fields: dict[str, Any]) -> bool:
    """Whether the record has one of ``names`` and all ``fields``."""
    own = Record.__struct_fields__
    return record.name in names and all(
        (getattr(record, name) if name in own else _arg(record, name)) == value
        for name, value in fields.items()
    )


def _arg(record: Record, name: str) -> object:
    """What the record holds under ``name``; None if there is no such thing."""
    args = record.args
    return getattr(args, name, None) if isinstance(args, Body) else args.get(name)
