"""A log of pages, and its bitmap."""

from harness.vfio.page_log import PageLog

PAGE = 4096
BITMAP = 0x9000


def taken(log, target, iova=0, length=1 << 20, page_size=PAGE, before=bytes(32)):
    target.put(BITMAP, before)
    writes, count = log.take(iova, length, page_size, BITMAP, target)
    for address, data in writes:
        target.write(address, data)
    found = int.from_bytes(target.read(BITMAP, 32), "little")
    return count, [bit for bit in range(256) if found >> bit & 1]


def marked(*pages):
    log = PageLog()
    for page in pages:
        log.mark(page * PAGE)
    return log


def test_each_page_has_its_bit_and_is_reported_once(target):
    log = marked(0, 7, 8, 200)
    assert taken(log, target) == (4, [0, 7, 8, 200])
    assert taken(log, target) == (0, [])


def test_page_that_is_written_again_is_reported_again(target):
    log = marked(3)
    taken(log, target)
    log.mark(3 * PAGE)
    log.mark(3 * PAGE)
    assert taken(log, target) == (1, [3])


def test_bits_are_counted_from_the_first_page_that_is_asked_for(target):
    log = marked(2, 5, 9)
    assert taken(log, target, 5 * PAGE, 4 * PAGE) == (1, [0])
    assert taken(log, target) == (2, [2, 9])


def test_bits_that_are_set_stay(target):
    assert taken(marked(1), target, before=b"\x11" + bytes(31)) == (1, [0, 1, 4])


def test_log_that_is_cleared_is_empty(target):
    log = marked(1)
    log.clear()
    assert taken(log, target) == (0, [])
