"""Changes of what a source device has for pre-copy, while it is migrated."""

from collections.abc import Iterator
from typing import Annotated

import msgspec

from harness.scenario import ranges

_SIZE = 1 << 40


class PrecopyChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One change, once it is due: at a byte, at a time, or as the guest has stopped."""

    at: ranges.Size | None = None
    """Once so many bytes of its state were read."""
    every: ranges.Size = 0
    """And again each time so many bytes more were read; 0: once only."""
    after_s: ranges.Delay | None = None
    """So long after the device entered PRE_COPY: at QEMU's next VFIO_MIG_GET_PRECOPY_INFO, or when
    the device enters PRE_COPY_P2P."""
    at_switchover: bool = False
    """When it enters PRE_COPY_P2P: QEMU has stopped the guest."""
    at_check: bool = False
    """When QEMU asks for VFIO_MIG_GET_PRECOPY_INFO again and has read nothing since: QEMU 11.1
    does so once it has decided the switchover."""
    dirty_bytes: Annotated[int, msgspec.Meta(ge=-_SIZE, le=_SIZE)] = 0
    """So many dirty bytes more; below 0: fewer, as far as they have not been read."""
    initial_bytes: ranges.Size | None = None
    """VFIO_PRECOPY_INFO_REINIT: what was not read yet is gone, and there are so many new initial
    bytes.  Where QEMU has not set MIG_PRECOPY_INFOv2, they are dirty bytes."""

    @property
    def may_come_late(self) -> bool:
        """Whether it may come when the switchover is decided."""
        return self.at_switchover or self.at_check or self.after_s is not None

    def problems(self, device: str, *, pre_copy: bool, p2p: bool) -> Iterator[tuple[bool, str]]:
        """A change without moment or effect is refused."""
        what = f"{device}: precopy_changes"
        moments = sum(
            (
                self.at is not None,
                self.after_s is not None,
                self.at_switchover,
                self.at_check,
            )
        )
        yield pre_copy, f"{what} needs pre_copy"
        yield moments == 1, f"{what}: give one of at, after_s, at_switchover and at_check"
        yield p2p or not self.at_switchover, f"{what}: at_switchover needs p2p"
        yield self.at is not None or not self.every, f"{what}: every needs at"
        yield (
            (self.initial_bytes is None) == bool(self.dirty_bytes),
            f"{what}: give one of dirty_bytes and initial_bytes",
        )
