"""Sanitizers are known by the binary's dynamic symbols, and get limits of their own."""

import struct
import sys
from pathlib import Path

import pytest

from harness.vm import sanitizers


def elf(strings: bytes, *, flags: int = 2) -> bytes:
    """An ELF file of 64 bits with one section, a string table; ``flags`` 2: it is loaded."""
    header = b"\x7fELF\x02\x01".ljust(0x28, b"\0") + struct.pack("<Q", 64)
    header = header.ljust(0x3A, b"\0") + struct.pack("<HH", 64, 1)
    section = struct.pack("<IIQQQQ", 0, 3, flags, 0, 128, len(strings)).ljust(64, b"\0")
    return header.ljust(64, b"\0") + section + strings


@pytest.fixture
def binary(tmp_path):
    def make(content: bytes) -> Path:
        path = tmp_path / f"qemu{len(list(tmp_path.iterdir()))}"
        path.write_bytes(content)
        return path

    return make


@pytest.mark.parametrize(
    ("symbols", "found"),
    [
        (b"\0malloc\0", ()),
        (b"\0__asan_init\0__ubsan_handle_shift_out_of_bounds\0", ("address", "undefined")),
        (b"\0__ubsan_handle_add_overflow\0", ("undefined",)),
        (b"\0__tsan_init\0", ("thread",)),
        (b"\0my__asan_init\0__asan_initial\0", ()),
    ],
)
def test_sanitizers_are_those_whose_library_is_called(binary, symbols, found):
    assert sanitizers.of(binary(elf(symbols))) == found


def test_symbols_that_are_not_loaded_are_only_words(binary):
    """Debugging information may name them, or another string table."""
    assert sanitizers.of(binary(elf(b"\0__asan_init\0", flags=0))) == ()


@pytest.mark.parametrize(
    "content", [b"", b"#!/bin/sh\n# __asan_init\n", elf(b"\0__asan_init\0")[:70]]
)
def test_what_is_no_elf_file_has_none(binary, content):
    assert sanitizers.of(binary(content)) == ()


def test_real_program_without_any():
    assert sanitizers.of(Path(sys.executable).resolve()) == ()
    assert sanitizers.of(Path("/none")) == ()


def test_only_what_has_a_shadow_goes_without_the_kernels_limit():
    assert sanitizers.has_shadow(("address", "undefined"))
    assert sanitizers.has_shadow(("thread",))
    assert not sanitizers.has_shadow(("undefined",))
    assert not sanitizers.has_shadow(())


def test_users_options_go_before_ours(tmp_path):
    given = {"PATH": "/bin", "ASAN_OPTIONS": "detect_leaks=0"}
    found = sanitizers.environment(tmp_path / "qemu", 1 << 30, given)
    assert found["PATH"] == "/bin"
    assert "max_allocation_size_mb=1024:" in found["ASAN_OPTIONS"]
    assert found["ASAN_OPTIONS"].endswith(":detect_leaks=0"), "the last one counts"
    assert found["LSAN_OPTIONS"] == "exitcode=0"
    assert "suppressions" not in found["TSAN_OPTIONS"]


def test_what_qemu_suppresses_is_taken_from_beside_the_binary(tmp_path):
    (tmp_path / sanitizers.SUPPRESSIONS).touch()
    (tmp_path / "link").symlink_to(tmp_path / "qemu")
    (tmp_path / "qemu").touch()
    found = sanitizers.environment(tmp_path / "link", 1 << 30, {})
    assert f":suppressions={tmp_path}/suppressions.tsan" in found["TSAN_OPTIONS"]
