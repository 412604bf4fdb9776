"""The sanitizers that a QEMU was built with (``--enable-asan``, ``--enable-ubsan``,
``--enable-tsan``), and the environment that they need.

The address and the thread sanitizer map a shadow of all memory, which RLIMIT_DATA would refuse;
their own limits are used instead.
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
"""A symbol of each sanitizer's library, of gcc and clang."""
SUPPRESSIONS = "suppressions.tsan"
_SHT_STRTAB, _SHF_ALLOC = 3, 2


@functools.cache
def of(binary: Path) -> tuple[str, ...]:
    """Names of the sanitizers in ``binary``: ``address``, ``undefined``, ``thread``.

    They are found by its dynamic symbols (elf(5)), also in a build tree of the user's.  Empty if
    it is no 64-bit ELF file, such as the script of a fetched build.
    """
    try:
        with binary.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            names = _dynamic_names(data)
    except (OSError, ValueError, struct.error):  # missing, empty or truncated
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
    """Whether one of them maps a shadow of the memory, for which no limit leaves room."""
    return "address" in found or "thread" in found


def environment(
    binary: Path, memory_limit_bytes: int, given: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """``given`` and options of the sanitizers; those in ``given`` override ours.

    An error aborts QEMU, as an assertion does, so that it is always noticed.  A leak does not
    change the exit status.  Both are reported on standard error.

    The reports of the thread sanitizer that QEMU suppresses (tests/tsan/suppressions.tsan) are
    read from the folder of ``binary``, where ``qemu build`` puts them.

    :param memory_limit_bytes: a larger allocation fails, as it does by RLIMIT_DATA
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
