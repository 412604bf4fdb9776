"""Ranges of the numbers in a scenario.

msgspec refuses a number outside its field's range when it reads JSON, and names the field.
A range is what a QEMU, a device or a run can take at all; what does not fit this scenario is
refused by ``harness.job.scenario_checks``.
"""

from typing import Annotated

from msgspec import Meta

UINT32_MAX = (1 << 32) - 1
INT64_MAX = (1 << 63) - 1
_DAY_S = 86_400.0

Channels = Annotated[int, Meta(ge=1, le=255)]
"""multifd-channels is a uint8 (QEMU qapi/migration.json)."""
Channel = Annotated[int, Meta(ge=0, le=254)]
"""Number of a multifd channel, the last of 255 at most."""
Uint8 = Annotated[int, Meta(ge=0, le=255)]
Uint16 = Annotated[int, Meta(ge=0, le=0xFFFF)]
Uint32 = Annotated[int, Meta(ge=0, le=UINT32_MAX)]
"""A field of a packet's headers (QEMU migration/multifd.h, hw/vfio/migration-multifd.c)."""
Value = Annotated[int, Meta(ge=0, le=INT64_MAX)]
Step = Annotated[int, Meta(ge=-UINT32_MAX, le=UINT32_MAX)]
Size = Annotated[int, Meta(ge=0, le=1 << 40)]
"""Bytes of a state, up to 1 TiB."""
Offset = Annotated[int, Meta(ge=-(1 << 40), le=1 << 40)]
"""Bytes from a start, or below 0 from an end."""
Call = Annotated[int, Meta(ge=1, le=0x7FFFF000)]
"""Bytes of one ``read()`` or ``write()``, of which Linux takes no more (MAX_RW_COUNT)."""
Calls = Annotated[tuple[Call, ...], Meta(max_length=4096)]
Bar = Annotated[int, Meta(ge=4096, le=1 << 29)]
"""A 32-bit memory BAR: 1 GiB finds no place below 4 GiB on q35 (seen in 10.0.13)."""
Piece = Annotated[int, Meta(ge=1, le=1 << 28)]
"""Bytes of a packet that a fault makes."""
Bytes = Annotated[int, Meta(ge=0, le=1 << 28)]
Mask = Annotated[int, Meta(ge=1, le=255)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Number = Annotated[int, Meta(ge=0, le=1_000_000)]
RamMib = Annotated[int, Meta(ge=16, le=1 << 20)]
"""Up to 1 TiB."""
LimitMib = Annotated[int, Meta(ge=0, le=1 << 24)]
MemoryKib = Annotated[int, Meta(ge=1, le=1 << 30)]
Delay = Annotated[float, Meta(ge=0, le=3600)]
"""Seconds before an answer, at most an hour."""
Deadline = Annotated[float, Meta(ge=0.01, le=_DAY_S)]
"""Seconds until something must have ended: no QEMU does anything in less."""
Rate = Annotated[float, Meta(ge=1, le=1e15)]
"""Bytes a second."""
Errno = Annotated[int, Meta(ge=1, le=133)]
"""Of Linux."""
Result = Annotated[int, Meta(ge=0, le=133)]
"""The same, or 0 for done."""
