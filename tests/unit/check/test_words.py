"""Lines of standard error: warning or error, when, about whom."""

import pytest

from harness.check import words

DMA_BUF = (
    "2026-11-27T19:29:59.565056Z qemu-system-x86_64: -device vfio-pci,id=vfio0,fd=7: warning: "
    "VFIO dma-buf not supported in kernel, using mmap fallback, P2P DMA will not work"
)
READ = "2026-11-27T19:30:16.546240Z qemu-system-x86_64: VFIO_FD7: reading state buffer 2 failed: 5"


@pytest.mark.parametrize(
    ("line", "is_warning"),
    [
        (DMA_BUF, True),
        ("qemu-system-x86_64: -mon chardev=qmp,mode=control: warning: '-mon' is deprecated", True),
        ("qemu: warning: multifd_send_0: Failed to terminate TLS connection", True),
        ("qemu: info: something", True),
        (READ, False),
        ("qemu: -device vfio-pci,id=warning: cannot be opened", False),
        ("qemu: a warning: is no mark inside of words", False),
        ("", False),
    ],
)
def test_warning_is_marked_behind_the_place(line, is_warning):
    assert words.is_warning(line) is is_warning


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1970-01-01T00:00:01.000002Z qemu: no", 1_000_002_000),
        ("1970-01-01T00:00:01Z qemu: no", 10**9),
        (READ, 1_795_807_816_546_240_000),
        ("qemu: no", None),
        ("2026-99-27T19:30:16.546240Z qemu: no", None),
        (f"said at {READ}", None),
        ("", None),
    ],
)
def test_time_is_that_of_the_stamp_in_front(line, expected):
    assert words.stamp_ns(line) == expected


@pytest.mark.parametrize(
    ("text", "is_named"),
    [
        (READ, True),
        ("error while loading state section id 37(0000:00:02.0/vfio)", True),
        ("vfio0: writing state buffer 0 failed: 5", True),
        ("device 'vfio0' failed", True),
        ("vfio01: writing state buffer 0 failed: 5", False),
        ("0000:00:03.0/vfio0: no", False),
        ("my-vfio0: no", False),
        ("VFIO_FD70: no", False),
        ("no", False),
    ],
)
def test_name_is_a_word_of_its_own(text, is_named):
    assert words.is_named(text, {"vfio0", "VFIO_FD7", "0000:00:02.0/vfio"}) is is_named


def test_nobody_is_named_by_no_names():
    assert not words.is_named("anything", set())
