"""Lines of a trace log, in pieces of any size and in any state, and their records."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import TraceError
from harness.history.records import Kind, Record, Side
from harness.trace.catalogue import Catalogue, Conversion
from harness.trace.reader import MAX_LINE_BYTES, TraceReader

EXCERPT = Path(__file__).parents[2] / "data" / "trace-events" / "qemu-10.0.13.txt"
CATALOGUE = Catalogue.parse(EXCERPT.read_text(), EXCERPT.name)
DEVICES = {"VFIO_FD12": "nic0", "VFIO_FD13": "nic1"}
SECOND = 1_795_410_499  # 2026-11-23T05:08:19Z

# A destination of QEMU 10.0: three threads, two devices, one event the catalogue lacks.
LOG = b"""\
70@1795410499.000001:multifd_recv_new_channel channel 1
71@1795410499.000002:multifd_recv_thread_start 1
72@1795410499.000003:multifd_recv_thread_start 0
71@1795410499.000010:vfio_load_state_device_buffer_incoming  (VFIO_FD12) idx 1
72@1795410499.000011:vfio_load_state_device_buffer_incoming  (VFIO_FD13) idx 0
80@1795410499.000012:vfio_load_state_device_buffer_starved  (VFIO_FD12) idx 0
72@1795410499.000009:vfio_load_state_device_buffer_incoming  (VFIO_FD12) idx 0
71@1795410499.000013:multifd_recv_unfill channel 1 packet_num 7 flags 0x1 next packet size 0
70@1795410500.000000:memory_region_ops_read cpu 0 addr 0x10
71@1795410500.000001:multifd_recv_thread_end channel 1 packets 12
71@1795410500.000002:vfio_load_cleanup  (VFIO_FD12)
70@1795410500.000003:vfio_migration_set_state  (VFIO_FD9) new state STOP, recover state ERROR
"""
INCOMING = "vfio_load_state_device_buffer_incoming"


def reader(*, tid: int = 0) -> TraceReader:
    return TraceReader(CATALOGUE, Side.DESTINATION, DEVICES, tid)


def read(data: bytes, *, tid: int = 0) -> list[Record[Any]]:
    """All records of a whole log."""
    trace = reader(tid=tid)
    return [*trace.feed(data), *trace.close()]


def record(t_us: int, name: str, args, device="", tid=0, channel=-1) -> Record:
    t_ns = SECOND * 10**9 + t_us * 1000
    return Record(t_ns, Side.DESTINATION, Kind.TRACE, name, args, device, tid, channel)


LOG_RECORDS = [
    record(1, "multifd_recv_new_channel", {"id": 1}, tid=70),
    record(2, "multifd_recv_thread_start", {"id": 1}, tid=71, channel=1),
    record(3, "multifd_recv_thread_start", {"id": 0}, tid=72, channel=0),
    record(10, INCOMING, {"name": "VFIO_FD12", "idx": 1}, "nic0", 71, 1),
    record(11, INCOMING, {"name": "VFIO_FD13", "idx": 0}, "nic1", 72, 0),
    record(
        12,
        "vfio_load_state_device_buffer_starved",
        {"name": "VFIO_FD12", "idx": 0},
        "nic0",
        80,
    ),
    record(9, INCOMING, {"name": "VFIO_FD12", "idx": 0}, "nic0", 72, 0),
    record(
        13,
        "multifd_recv_unfill",
        {"id": 1, "packet_num": 7, "flags": 1, "next_packet_size": 0},
        tid=71,
        channel=1,
    ),
    record(
        1_000_000,
        "?",
        {"line": "70@1795410500.000000:memory_region_ops_read cpu 0 addr 0x10"},
        tid=70,
    ),
    record(1_000_001, "multifd_recv_thread_end", {"id": 1, "packets": 12}, tid=71, channel=1),
    record(1_000_002, "vfio_load_cleanup", {"name": "VFIO_FD12"}, "nic0", 71),
    record(
        1_000_003,
        "vfio_migration_set_state",
        {"name": "VFIO_FD9", "new_state": "STOP", "recover_state": "ERROR"},
        tid=70,
    ),
]


# --- pieces --------------------------------------------------------------------------


def test_complete_log_gives_one_record_a_line():
    assert read(LOG) == LOG_RECORDS


def test_byte_by_byte_gives_a_record_at_each_end_of_line_and_not_before():
    trace = reader()
    records = []
    for at in range(len(LOG)):
        new = trace.feed(LOG[at : at + 1])
        assert len(new) == (LOG[at] == ord("\n"))
        records += new
    assert records == LOG_RECORDS
    assert trace.close() == []


def test_trailing_bytes_wait_for_the_end_of_their_line():
    trace = reader()
    assert trace.feed(LOG + LOG[:20]) == LOG_RECORDS
    assert trace.feed(b"") == []
    assert len(trace.feed(LOG[20:])) == len(LOG_RECORDS)


@given(cuts=st.lists(st.integers(0, len(LOG)), max_size=8).map(sorted))
def test_it_does_not_matter_how_a_log_is_cut(cuts):
    trace = reader()
    pieces = [LOG[a:b] for a, b in zip([0, *cuts], [*cuts, len(LOG)], strict=True)]
    assert [r for piece in pieces for r in trace.feed(piece)] == LOG_RECORDS


def test_a_log_larger_than_any_internal_piece_loses_nothing():
    line = b"%d@1795410499.%06d:vfio_load_state_device_buffer_incoming  (VFIO_FD12) idx %d\n"
    log = b"".join(line % (70 + n % 5, n, n) for n in range(5000))
    records = read(log)
    assert [r.args["idx"] for r in records] == list(range(5000))
    assert [r.t_ns % 10**9 for r in records] == [n * 1000 for n in range(5000)]
    assert {r.device for r in records} == {"nic0"}


# --- time ----------------------------------------------------------------------------


@given(
    tid=st.integers(1, 2**22),
    seconds=st.integers(0, 2**33),
    micros=st.integers(0, 999_999),
)
def test_time_and_thread_of_qemu_10_are_read_exactly(tid, seconds, micros):
    line = b"%d@%d.%06d:vfio_load_cleanup  (VFIO_FD12)\n" % (tid, seconds, micros)
    for one in read(line * 2):  # the second takes the fast path
        assert (one.name, one.tid) == ("vfio_load_cleanup", tid)
        assert one.t_ns == seconds * 10**9 + micros * 1000


@given(st.datetimes())
def test_date_of_qemu_11_is_read_exactly(when):
    # As GLib prints it: no microseconds where there are none.  isoformat() does the same.
    line = f"{when.isoformat()}Z vfio_load_cleanup  (VFIO_FD12)\n".encode()
    days = when.toordinal() - 719_163
    seconds = ((days * 24 + when.hour) * 60 + when.minute) * 60 + when.second
    for one in read(line * 2, tid=5):
        assert (one.name, one.device, one.tid) == ("vfio_load_cleanup", "nic0", 5)
        assert one.t_ns == seconds * 10**9 + when.microsecond * 1000


def test_both_kinds_of_stamp_mean_the_same_time():
    old, new = read(
        b"7@1795410499.310196:multifd_send_terminate_threads \n"
        b"2026-11-23T05:08:19.310196Z multifd_send_terminate_threads \n"
    )
    assert old.t_ns == new.t_ns == SECOND * 10**9 + 310_196_000


def test_many_seconds_and_threads_do_not_mix():
    stamps = [(tid, second) for second in range(60) for tid in range(1, 100)] * 2
    log = "".join(f"{tid}@{second}.000001:vfio_load_cleanup  (a)\n" for tid, second in stamps)
    assert [(r.tid, r.t_ns) for r in read(log.encode())] == [
        (tid, second * 10**9 + 1000) for tid, second in stamps
    ]


@pytest.mark.parametrize(
    "stamp",
    [
        b"2026-02-30T05:08:19.310196Z ",
        b"2026-11-23T05:08:60.310196Z ",
        b"2026-11-23T05:08:19.310196+ ",
        b"2026-11-23T05:08:19.310196ZZ",
        b"2026-11-23T05:08:19.31019Z ",
        b"7@1795410499.31019:",
        b"7@1795410499.3101966:",
        b"7@1795410499.31019\xd9\xa5:",  # an Arabic digit
        b"7@.310196:",
        b"@1795410499.310196:",
        b"77777777777@1795410499.310196:",
        b"7.310196:",
        b":",
    ],
)
def test_line_with_a_damaged_stamp_is_unknown_and_has_the_time_of_the_one_before(stamp):
    good = b"2026-11-23T05:08:19.%06dZ " if b"T" in stamp else b"7@1795410499.%06d:"
    good += b"vfio_load_cleanup  (a)\n"
    line = stamp + b"vfio_load_cleanup  (a)"
    _, _, unknown = read(good % 310_194 + good % 310_195 + line + b"\n")
    assert (unknown.name, unknown.args) == ("?", {"line": line.decode()})
    assert unknown.t_ns == SECOND * 10**9 + 310_195_000


def test_a_log_without_times_is_an_error_that_says_what_to_do():
    with pytest.raises(TraceError, match="-msg timestamp=on") as e:
        read(b"vfio_load_cleanup  (VFIO_FD12)\n")
    assert "destination" in str(e.value)
    assert "\n" not in str(e.value)


# --- devices and channels ------------------------------------------------------------


def test_devices_that_interleave_are_distinguished():
    log = b"".join(
        b"5@1.%06d:vfio_load_state_device_buffer_load_%s  (VFIO_FD%d) idx %d\n" % (n, what, fd, n)
        for n in range(20)
        for fd in (12, 13, 14)
        for what in (b"start", b"end")
    )
    records = read(log)
    for device, name in (("nic0", "VFIO_FD12"), ("nic1", "VFIO_FD13"), ("", "VFIO_FD14")):
        mine = [r for r in records if r.args["name"] == name]
        assert {r.device for r in mine} == {device}
        assert [r.args["idx"] for r in mine] == [n for n in range(20) for _ in range(2)]


def test_a_device_name_may_hold_blanks_and_brackets():
    names = {"0000:00:02.0": "pci", "my (odd) idx 3": "odd"}
    trace = TraceReader(CATALOGUE, Side.SOURCE, names)
    for name, device in names.items():
        (one,) = trace.feed(b"1@1.000000:vfio_save_block  (%s) data_size 4\n" % name.encode())
        assert (one.device, one.args["name"], one.side) == (device, name, Side.SOURCE)


def test_only_vfio_events_are_about_a_device():
    catalogue = Catalogue.parse('savevm(const char *name) "%s"\nvfio_x(int n) "%d"\n', "here")
    trace = TraceReader(catalogue, Side.SOURCE, DEVICES)
    log = b"1@1.000000:savevm VFIO_FD12\n1@1.000000:vfio_x 1\n"
    assert {r.device for r in trace.feed(log * 2)} == {""}


@pytest.mark.parametrize("way", ["recv", "send"])
def test_a_reused_thread_id_serves_its_new_channel_only(way):
    log = f"""\
9@1.000000:vfio_load_cleanup  (a)
9@1.000001:multifd_{way}_thread_start 3
9@1.000002:vfio_load_cleanup  (a)
8@1.000003:vfio_load_cleanup  (a)
9@1.000004:something else
9@1.000005:multifd_{way}_thread_end channel 3 packets 1
9@1.000006:vfio_load_cleanup  (a)
9@1.000007:multifd_{way}_thread_start 0
9@1.000008:vfio_load_cleanup  (a)
9@1.000009:multifd_{way}_thread_start 2
9@1.000010:vfio_load_cleanup  (a)
"""
    channels = [-1, 3, 3, -1, 3, 3, -1, 0, 0, 2, 2]
    assert [r.channel for r in read(log.encode())] == channels


DATED = b"""\
2026-11-23T05:08:19.000001Z multifd_recv_thread_start 2
2026-11-23T05:08:19.000002Z vfio_load_state_device_buffer_incoming  (VFIO_FD12) idx 1
2026-11-23T05:08:20Z vfio_load_state_device_buffer_incoming  (VFIO_FD12) idx 2
2026-11-23T05:08:20.000004Z vfio_load_state_device_buffer_incoming  (VFIO_FD13) idx 3
2026-11-23T05:08:20.000005Z multifd_recv_thread_end channel 2 packets 3
"""


def test_log_of_one_thread_has_its_channel_though_its_lines_name_no_thread():
    records = read(DATED, tid=44)
    assert [(r.tid, r.channel) for r in records] == [(44, 2)] * 5
    assert [r.device for r in records] == ["", "nic0", "nic0", "nic1", ""]
    start = SECOND * 10**6
    assert [r.t_ns // 1000 - start for r in records] == [1, 2, 10**6, 10**6 + 4, 10**6 + 5]


def test_unknown_line_in_the_log_of_one_thread_has_its_channel_too():
    *_, one = read(DATED[: DATED.index(b"\n") + 1] + b"some warning\n", tid=44)
    assert (one.name, one.tid, one.channel) == ("?", 44, 2)


def test_without_thread_ids_no_channel_is_guessed():
    assert [(r.tid, r.channel) for r in read(DATED)] == [(0, -1)] * 5


# --- lines that are no event ---------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "",
        " ",
        ":",
        "Z ",
        "multifd_recv_thread_start",
        "qemu-system-x86_64: warning: something",
        "vfio_load_cleanup is a name that may well start a sentence",
        "7@1795410499.000005:vfio_load_cleanup  (VFIO_FD12) and more",
        "7@1795410499.000005:vfio_load_cleanup ",
        "7@1795410499.000005:vfio_load_cleanup",
        "7@1795410499.000005:",
        "2026-11-23T05:08:19.000005Z Invalid read at addr 0x0",
    ],
)
def test_unknown_line_becomes_a_record(line):
    before = b"7@1795410499.000005:vfio_load_cleanup  (VFIO_FD12)\n"
    for one in read(before + f"{line}\n".encode() + before + f"{line}\n".encode())[1::2]:
        assert (one.name, one.args, one.device) == ("?", {"line": line}, "")
        assert one.t_ns == SECOND * 10**9 + 5000


def test_first_line_without_a_time_has_time_zero():
    (one,) = read(b"hello\n")
    assert (one.t_ns, one.name, one.tid) == (0, "?", 0)


def test_bytes_that_are_not_utf_8_are_kept_and_fit_json():
    log = (
        b"7@1.000000:vfio_load_cleanup  (a\xff\xed\xa0\x80b)\n"
        b"lost \xc3\n"
        b"7@2.000000:x \xe2\x82\xac\n"
    )
    known, cut, euro = read(log)
    assert known.args == {"name": r"a\xff\xed\xa0\x80b"}
    assert cut.args == {"line": r"lost \xc3"}
    assert euro.args == {"line": "7@2.000000:x \N{EURO SIGN}"}
    assert json.loads(msgspec.json.encode(known))["args"] == known.args


def test_a_character_cut_in_two_is_put_together_again():
    trace = reader()
    assert trace.feed("7@1.000000:vfio_load_cleanup  (é".encode()[:-1]) == []
    (one,) = trace.feed("é)\n".encode()[1:])
    assert one.args == {"name": "é"}


@pytest.mark.parametrize(("cut", "tid"), [(1, 7), (5, 7), (30, 7), (59, 7), (60, 0), (78, 0)])
def test_truncated_last_line_becomes_a_record(cut, tid):
    line = b"7@1795410499.000007:vfio_load_state_device_buffer_incoming  (VFIO_FD12) idx 12\n"
    trace = reader()
    trace.feed(line)
    assert trace.feed(line[:-cut]) == []
    (one,) = trace.close()
    assert (one.name, one.args) == ("?", {"line": line[:-cut].decode()})
    assert (one.t_ns, one.tid) == (SECOND * 10**9 + 7000, tid)
    assert trace.close() == []


def test_a_log_that_ends_with_a_complete_line_leaves_nothing():
    trace = reader()
    trace.feed(LOG)
    assert trace.close() == []


def test_the_longest_line_allowed_is_read():
    name = b"x" * (MAX_LINE_BYTES - len(b"7@1.000000:vfio_load_cleanup  ()"))
    (one,) = read(b"7@1.000000:vfio_load_cleanup  (%s)\n" % name)
    assert one.args == {"name": name.decode()}


@pytest.mark.parametrize("piece", [1 << 12, 1 << 15, 1 << 20])
@pytest.mark.parametrize("end", [b"", b"\n", b"\nmore"])
def test_a_longer_line_is_an_error_however_it_comes(piece, end):
    log = b"first\n" + b"x" * (MAX_LINE_BYTES + 1) + end
    trace = reader()
    pieces = [log[at : at + piece] for at in range(0, len(log), piece)]
    with pytest.raises(TraceError, match=r"destination: a line of .* 65536 is the limit"):
        [trace.feed(one) for one in pieces]


# --- the two paths -------------------------------------------------------------------


@pytest.mark.parametrize("stamp", ["2026-11-23T05:08:19.%06dZ ", "7@1795410499.%06d:"])
def test_a_line_like_one_seen_before_takes_the_fast_path(stamp, monkeypatch):
    line = f"{stamp}{INCOMING}  (VFIO_FD12) idx %d\n"
    trace = reader()
    trace.feed((line % (1, 1)).encode())
    monkeypatch.setattr(trace, "_read_line", None)
    (one,) = trace.feed((line % (2, 5)).encode())
    assert one == record(2, INCOMING, {"name": "VFIO_FD12", "idx": 5}, "nic0", one.tid)


@st.composite
def lines(draw) -> str:
    """A line that the catalogue's own format made, perhaps with a little damage."""
    event = draw(st.sampled_from(list(CATALOGUE.events.values())))
    text = f"{event.name} "
    for piece in event.pieces:
        if isinstance(piece, Conversion):
            number = draw(st.integers(0, 2**32 - 1))
            name = draw(st.sampled_from(["VFIO_FD12", "VFIO_FD13", "a b", ""]))
            text += {"s": name, "x": f"{number:x}", "p": f"{number:#x}"}.get(
                piece.letter, str(number)
            )
        else:
            text += piece
    tid, second, micros = draw(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 9)))
    stamp = draw(
        st.sampled_from(
            [f"{tid}@{second}.{micros:06}:", f"1970-01-01T00:00:0{second}.00000{micros}Z "]
        )
    )
    whole = stamp + text
    at = draw(st.integers(0, len(whole)))
    return draw(st.sampled_from([whole] * 6 + [whole[:at], whole[:at] + "?" + whole[at:]]))


@given(st.lists(lines(), max_size=30), st.integers(0, 1))
def test_what_was_seen_before_does_not_change_how_a_line_is_read(log, tid):
    """Only its channel and, for a line without a stamp, its time come from earlier ones."""
    together = read("".join(f"{line}\n" for line in log).encode(), tid=tid)
    assert len(together) == len(log)
    for line, one in zip(log, together, strict=True):
        (alone,) = read(f"{line}\n".encode(), tid=tid)
        assert (one.name, one.args, one.device, one.tid) == (
            alone.name,
            alone.args,
            alone.device,
            alone.tid,
        )
        assert alone.t_ns in {one.t_ns, 0}
