"""Sanitizers that a QEMU was built with (``--enable-asan``, ``--enable-ubsan``,
``--enable-tsan``), and what they need to run.

The address and the thread sanitizer map a shadow of all memory, which RLIMIT_DATA would
refuse, so their own limits take that one's place.
"""

import functools
import mmap
import os
import struct
from collections.abc import Mapping
from pathlib import Path

_SYMBOLS = {
    "address": b"\0__asan_init\0",
    "undefined": b"\0__ubsan_handle_",
    "thread": b"\0__tsan_init\0",
}
"""What the code calls of each sanitizer's library, gcc's and clang's."""
SUPPRESSIONS = "suppressions.tsan"
_SHT_STRTAB, _SHF_ALLOC = 3, 2


@functools.cache
def of(binary: Path) -> tuple[str, ...]:
    """Names of the sanitizers in ``binary``: ``address``, ``undefined``, ``thread``.

    Asked of its dynamic symbols (elf(5)), so a build tree of the user's own is known, too.
    Empty for what is no ELF file of 64 bits, such as the script of a fetched build.
    """
    try:
        with binary.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            names = _dynamic_names(data)
    except (OSError, ValueError, struct.error):  # it is not there, empty, or cut short
        return ()
    return tuple(name for name, symbol in _SYMBOLS.items() if symbol in names)


def _dynamic_names(data: mmap.mmap) -> bytes:
    """The string tables that are loaded (.dynstr)."""
    if data[:6] != b"\x7fELF\x02\x01":
        return b""
    (at,) = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3A)
    found = b""
    for number in range(count):
        section = struct.unpack_from("<IIQQQQ", data, at + number * size)
        _, kind, flags, _, offset, length = section
        if kind == _SHT_STRTAB and flags & _SHF_ALLOC:
            found += data[offset : offset + length]
    return found


def has_shadow(found: tuple[str, ...]) -> bool:
    """Whether one of them maps a shadow of the memory, which no limit leaves room for."""
    return "address" in found or "thread" in found


def environment(
    binary: Path, memory_limit_bytes: int, given: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """``given`` and options of the sanitizers, before which those of ``given`` go.

    An error aborts, as an assertion does, so that it is seen whatever QEMU was doing; a leak
    leaves the exit status alone; both say so on standard error.

    What QEMU suppresses of the thread sanitizer's reports (tests/tsan/suppressions.tsan) is
    taken from beside ``binary``, where ``qemu build`` puts it.

    :param memory_limit_bytes: no allocation gets more, which is NULL then as it is by
        RLIMIT_DATA
    """
    limit_mib = memory_limit_bytes >> 20
    suppressed = binary.resolve().parent / SUPPRESSIONS
    ours = {
        "ASAN_OPTIONS": f"abort_on_error=1:allocator_may_return_null=1:"
        # GLib has no frame pointers: without a real unwinder a leak's stack ends there.
        f"max_allocation_size_mb={limit_mib}:fast_unwind_on_malloc=0:malloc_context_size=16",
        "LSAN_OPTIONS": "exitcode=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "TSAN_OPTIONS": f"exitcode=0:allocator_may_return_null=1:"
        f"max_allocation_size_mb={limit_mib}"
        + (f":suppressions={suppressed}" if suppressed.is_file() else ""),
    }
    return {
        **given,
        **{
            name: f"{options}:{given[name]}" if given.get(name) else options
            for name, options in ours.items()
        },
    }
