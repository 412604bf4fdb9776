"""Wrong answers of an emulated device to QEMU's questions for the size of its state."""

import enum
from collections.abc import Iterator
from typing import Annotated

import msgspec

from harness.scenario import ranges

UINT64_MAX = (1 << 64) - 1
Uint64 = Annotated[int, msgspec.Meta(ge=0)]
"""Of a uint64; ``Misreport.problems`` has the upper end, which msgspec cannot state."""


class Query(enum.StrEnum):
    """A question for a size (linux/vfio.h)."""

    DATA_SIZE = "MIG_DATA_SIZE"
    PRECOPY_INFO = "PRECOPY_INFO"


class Misreport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the source's device answers in place of the truth: an error, or other sizes."""

    query: Query
    first: ranges.Count = 1
    """The first call that is answered so; calls are counted over the device's life."""
    calls: ranges.Count | None = None
    """How many calls are answered so; None for all from the first one on."""
    errno: ranges.Errno | None = None
    """The call fails with it; None if it does not."""
    stop_copy_length: Uint64 | None = None
    """Of MIG_DATA_SIZE; None for the true size."""
    initial_bytes: Uint64 | None = None
    """Of PRECOPY_INFO; None for the true number."""
    dirty_bytes: Uint64 | None = None
    """Of PRECOPY_INFO; None for the true number."""

    def is_about(self, query: Query, number: int) -> bool:
        """Whether the ``number``-th call of ``query``, from 1 on, is answered so."""
        last = number if self.calls is None else self.first + self.calls - 1
        return self.query is query and self.first <= number <= last

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes that are set."""
        every = (self.stop_copy_length, self.initial_bytes, self.dirty_bytes)
        return tuple(size for size in every if size is not None)

    @property
    def is_impossible(self) -> bool:
        """Whether no device can have what it reports, so that QEMU may fail the migration."""
        return self.errno is not None or sum(self.sizes) > ranges.INT64_MAX

    def problems(self, device: str, *, pre_copy: bool) -> Iterator[tuple[bool, str]]:
        """What must hold, and what is wrong where it does not."""
        what = f"{device}: misreports of {self.query}"
        own, others = [self.stop_copy_length], [self.initial_bytes, self.dirty_bytes]
        if self.query is Query.PRECOPY_INFO:
            own, others = others, own
            yield pre_copy, f"{what} need pre_copy"
        yield all(size is None for size in others), f"{what} have a size of the other query"
        is_set = any(size is not None for size in own)
        yield is_set is (self.errno is None), f"{what} have either errno or a size"
        yield max(self.sizes, default=0) <= UINT64_MAX, f"{what} have a size above {UINT64_MAX}"
