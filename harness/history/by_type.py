"""The records of a history by what they hold, grouped once."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, cast

from harness.history.records import Body, Record, Side

B = TypeVar("B", bound=Body)


class ByType:
    """Records of the typed kinds, by the class of what they hold.  Each group keeps the order of
    the records.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._groups: dict[type[Any], list[Record]] = defaultdict(list)
        self._found: dict[tuple[type[Any], Side | None, str | None], list[Record]] = {}
        for record in records:
            if (of := type(record.args)) is not dict:
                self._groups[of].append(record)

    def of(
        self, body: type[B], side: Side | None = None, device: str | None = None
    ) -> Sequence[Record[B]]:
        """Records that hold a ``body``, in order.

        :param side: None for those of any side
        :param device: empty for those that are about no device; None for all
        """
        key = body, side, device
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = [
                record
                for record in self._groups.get(body, ())
                if side in (None, record.side) and device in (None, record.device)
            ]
        return cast("Sequence[Record[B]]", found)
