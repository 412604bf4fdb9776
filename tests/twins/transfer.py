"""Broken twins of runs without faults on the way."""

import msgspec

from harness.check import evidence as seen
from harness.history.process import Hung, Memory
from harness.history.records import Kind, Record, Side, plain
from harness.history.session import Deadline
from tests.twins.damage import (
    Unfit,
    change,
    drop,
    first_device,
    held,
    one,
    pick,
    recount,
    some,
    swap,
)
from tests.twins.twin import twin

SRC, DST = Side.SOURCE, Side.DESTINATION
LOADS = (seen.LOAD_START, seen.LOAD_END)
CONFIG = (seen.CONFIG_START, seen.CONFIG_END)
_S, _MS = 10**9, 10**6
MIB = 1 << 20


# -- ORD ---------------------------------------------------------------------------------


@twin("ORD-1")
def two_loads_swapped(records: list[Record]) -> list[Record]:
    device = first_device(records)
    third = some(records, *LOADS, device=device, idx=3)
    fourth = some(records, *LOADS, device=device, idx=4)
    return swap(swap(records, third, idx=4), fourth, idx=3)


@twin("ORD-1")
def buffer_left_out(records: list[Record]) -> list[Record]:
    return drop(records, *LOADS, device=first_device(records), idx=3)


@twin("ORD-1")
def buffer_loaded_twice(records: list[Record]) -> list[Record]:
    device = first_device(records)
    end = one(records, seen.LOAD_END, device=device, idx=3)
    at = records.index(end) + 1
    again = [change(end, name=name) for name in LOADS]
    return [*records[:at], *again, *records[at:]]


@twin("ORD-1")
def buffer_loaded_before_it_came(records: list[Record]) -> list[Record]:
    device = first_device(records)
    start = one(records, seen.LOAD_START, device=device, idx=3)
    packet = one(records, seen.INCOMING, device=device, idx=3)
    return swap(records, [packet], t_ns=start.t_ns + 1000)


@twin("ORD-1")
def wrong_byte(records: list[Record]) -> list[Record]:
    received = one(records, "received", kind=Kind.DEVICE)
    return swap(records, [received], digest="0" * 32, first_difference=5)


@twin("ORD-2")
def wake_up_lost(records: list[Record]) -> list[Record]:
    """Buffer 3 is next, and is loaded 3 s later, when another packet comes in."""
    device = first_device(records)
    start = one(records, seen.LOAD_START, device=device, idx=3)
    at = records.index(start)
    waker = pick(records, seen.INCOMING, device=device)[-1]
    late = [change(record, t_ns=record.t_ns + 3 * _S) for record in records[at:]]
    sign_of_life = Record.of(start.t_ns + _S, SRC, Memory(hwm_kib=1))
    rest = [*records[:at], sign_of_life, *late]
    rest = drop(rest, seen.INCOMING, device=device, idx=plain(waker)["idx"])
    return [*rest, change(waker, t_ns=start.t_ns + 3 * _S - 1000)]


@twin("ORD-2", "RUN")
def load_thread_stalls(records: list[Record]) -> list[Record]:
    """Buffer 3 is next and never loaded, until the harness gives up."""
    device = first_device(records)
    at = records.index(one(records, seen.LOAD_START, device=device, idx=3))
    loads = (*LOADS, *CONFIG, seen.THREAD_END, seen.STARVED)
    over = ("MIGRATION", "RESUME", "received", "sent", "return", "VFIO_MIGRATION", "arc")
    rest = [r for r in records[at:] if r.device != device or r.name not in loads]
    kept = [r for r in rest if r.name not in over]
    until = max(record.t_ns for record in kept) + 30 * _S
    gave_up = Deadline(waiting_for="the end of destination", deadline_s=30.0)
    return [
        *records[:at],
        *[r for r in kept if r.kind is Kind.TRACE],
        Record.of(until, Side.HARNESS, gave_up),
        *[change(r, t_ns=until + _S) for r in kept if r.kind is not Kind.TRACE],
    ]


@twin("ORD-3")
def busy_loop(records: list[Record]) -> list[Record]:
    starved = one(records, seen.STARVED, device=first_device(records))
    return [*records, *[change(starved, t_ns=starved.t_ns + n) for n in range(5000)]]


@twin("ORD-3", on="slow")
def deaf_while_writing(records: list[Record]) -> list[Record]:
    """The lock is held over the write: each channel gets one packet in, then blocks."""
    device = first_device(records)
    packets = sorted(pick(records, seen.INCOMING, device=device), key=lambda r: plain(r)["idx"])
    threads = list(dict.fromkeys((record.tid, record.channel) for record in packets))
    starts = pick(records, seen.LOAD_START, device=device)
    late = []
    for number, packet in enumerate(packets):
        group, thread = divmod(number, len(threads))
        t_ns = starts[group].t_ns + (_MS if group else -_MS) + thread
        tid, channel = threads[thread]
        late.append(change(packet, t_ns=t_ns, tid=tid, channel=channel))
    return recount(records, [*drop(records, seen.INCOMING, device=device), *late])


@twin("ORD-4")
def configuration_loaded_twice(records: list[Record]) -> list[Record]:
    device = first_device(records)
    pair = pick(records, *CONFIG, device=device)
    return [*records, *[change(record, t_ns=pair[-1].t_ns) for record in pair]]


@twin("ORD-4")
def configuration_before_the_last_buffer(records: list[Record]) -> list[Record]:
    device = first_device(records)
    last = one(records, seen.LOAD_START, device=device)
    pair = pick(records, *CONFIG, device=device)
    early = [change(record, t_ns=last.t_ns - 2 + at) for at, record in enumerate(pair)]
    return [*drop(records, *CONFIG, device=device), *early]


@twin("ORD-4", "SET-4")
def configuration_not_loaded(records: list[Record]) -> list[Record]:
    return drop(records, *CONFIG, device=first_device(records))


@twin("ORD-4")
def configuration_loaded_as_data(records: list[Record]) -> list[Record]:
    device = first_device(records)
    start = one(records, seen.CONFIG_START, device=device)
    at, idx = (
        records.index(start),
        max(plain(record)["idx"] for record in pick(records, seen.INCOMING, device=device)),
    )
    pair = [change(start, name=name, idx=idx) for name in LOADS]
    return [*records[:at], *pair, *records[at:]]


@twin("ORD-4")
def command_register_lost(records: list[Record]) -> list[Record]:
    return swap(records, [one(records, "config", side=DST)], command=0)


@twin("ORD-4")
def guest_register_lost(records: list[Record]) -> list[Record]:
    view = one(records, "guest_config", side=DST)
    registers = dict.fromkeys(held(view).registers, 0xFFFFFFFF)
    return swap(records, [view], registers=registers)


@twin("ORD-5", "STA-3")
def state_cut_too_small(records: list[Record]) -> list[Record]:
    """One data packet more, all the way to its load."""
    device = first_device(records)
    config = max(pick(records, seen.INCOMING, device=device), key=lambda r: plain(r)["idx"])
    idx = plain(config)["idx"]
    at = records.index(one(records, seen.CONFIG_START, device=device))
    start = records[at]
    pair = [change(start, name=name, idx=idx) for name in LOADS]
    more = [change(config, idx=idx + 1, t_ns=min(config.t_ns + 1, start.t_ns))]
    return [*records[:at], *pair, *records[at:], *more]


@twin("ORD-5", "ORD-1", "ORD-6", "STA-3")
def packet_lost(records: list[Record]) -> list[Record]:
    device = first_device(records)
    one(records, seen.LOAD_START, device=device, idx=3)
    return drop(records, seen.INCOMING, *LOADS, device=device, idx=3)


@twin("ORD-6")
def devices_share_a_load_thread(records: list[Record]) -> list[Record]:
    starts = pick(records, seen.THREAD_START)
    if len(starts) < 2:
        raise Unfit("one load thread only")
    events = (*LOADS, *CONFIG, seen.STARVED, seen.THREAD_START, seen.THREAD_END)
    second = pick(records, *events, device=starts[1].device)
    shared = swap(records, second, tid=starts[0].tid)
    begun = one(shared, seen.THREAD_START, device=starts[1].device)
    return swap(shared, [begun], t_ns=starts[0].t_ns + 1)


@twin("ORD-6", "ORD-1")
def states_go_to_the_wrong_devices(records: list[Record]) -> list[Record]:
    received = pick(records, "received")
    if len(received) < 2:
        raise Unfit("one device only")
    ours, theirs = received[:2]
    first = {name: getattr(theirs.args, name) for name in ("bytes", "digest")}
    second = {name: getattr(ours.args, name) for name in ("bytes", "digest")}
    records = swap(records, [ours], **first, first_difference=0)
    return swap(records, [theirs], **second, first_difference=0)


@twin("ORD-8", on="short writes")
def rest_of_a_write_lost(records: list[Record]) -> list[Record]:
    writes = pick(records, "write", kind=Kind.DEVICE)
    short = next((w for w in writes if held(w).got < held(w).asked), None)
    if short is None:
        raise Unfit("no short write")
    return [record for record in records if record is not writes[writes.index(short) + 1]]


@twin("ORD-8", on="short writes")
def whole_write_offered_again(records: list[Record]) -> list[Record]:
    writes = pick(records, "write", kind=Kind.DEVICE)
    short = next((w for w in writes if held(w).got < held(w).asked), None)
    if short is None:
        raise Unfit("no short write")
    again = writes[writes.index(short) + 1]
    return swap(records, [again], asked=held(short).asked)


# -- STA ---------------------------------------------------------------------------------


@twin("STA-1")
def statistics_count_twice(records: list[Record]) -> list[Record]:
    answer = one(records, "return", side=SRC, command="query-migrate")
    told = plain(answer)["value"]["vfio"]["transferred"]
    value = {**plain(answer)["value"], "vfio": {"transferred": 2 * told}}
    return swap(records, [answer], value=value)


@twin("STA-1")
def statistics_forget_headers(records: list[Record]) -> list[Record]:
    answer = one(records, "return", side=SRC, command="query-migrate")
    less = 12 * len(pick(records, seen.INCOMING)) + 600
    told = plain(answer)["value"]["vfio"]["transferred"] - less
    return swap(records, [answer], value={**plain(answer)["value"], "vfio": {"transferred": told}})


@twin("STA-1")
def statistics_without_vfio(records: list[Record]) -> list[Record]:
    answer = one(records, "return", side=SRC, command="query-migrate")
    return swap(records, [answer], value={"status": "completed"})


@twin("STA-2")
def event_missing(records: list[Record]) -> list[Record]:
    second = some(records, "VFIO_MIGRATION", side=SRC)[:2][-1]
    return [record for record in records if record is not second]


@twin("STA-2")
def last_event_missing(records: list[Record]) -> list[Record]:
    quit_ns = one(records, "execute", side=DST, command="quit").t_ns
    last = one([r for r in records if r.t_ns < quit_ns], "VFIO_MIGRATION", side=DST)
    return [record for record in records if record is not last]


@twin("STA-2")
def event_tells_another_state(records: list[Record]) -> list[Record]:
    event = one(records, "VFIO_MIGRATION", side=DST, **{"device-state": "resuming"})
    return swap(records, [event], **{"device-state": "stop"})


@twin("STA-2")
def event_too_many(records: list[Record]) -> list[Record]:
    return [*records, one(records, "VFIO_MIGRATION", side=DST)]


@twin("STA-2")
def change_that_is_not_legal(records: list[Record]) -> list[Record]:
    """A device without pre-copy is set to PRE_COPY, and the event tells so."""
    arc = one(records, "arc", side=DST, state="RUNNING")
    event = one(records, "VFIO_MIGRATION", side=DST, device=arc.device)
    records = swap(records, [arc], state="PRE_COPY")
    return swap(records, [event], **{"device-state": "pre-copy"})


@twin("STA-3")
def incoming_told_twice(records: list[Record]) -> list[Record]:
    packet = one(records, seen.INCOMING, device=first_device(records), idx=2)
    return [*records, packet]


@twin("STA-3")
def incoming_for_nobody(records: list[Record]) -> list[Record]:
    packet = one(records, seen.INCOMING, device=first_device(records), idx=2)
    args = {"name": "VFIO_FD99", "idx": 2}
    return [*records, msgspec.structs.replace(packet, device="", args=args)]


@twin("STA-3")
def channel_counts_more(records: list[Record]) -> list[Record]:
    end = one(records, "multifd_recv_thread_end")
    return swap(records, [end], packets=plain(end)["packets"] + 1)


# -- SET ---------------------------------------------------------------------------------


@twin("SET-1")
def state_takes_the_main_channel(records: list[Record]) -> list[Record]:
    begun = one(records, seen.SAVE_THREAD_START)
    return [*records, change(begun, name=seen.SAVE_MAIN_START)]


@twin("SET-1", "RUN", on="refused")
def unsupported_transfer_accepted(records: list[Record]) -> list[Record]:
    failed = some(records, "MIGRATION", status="failed")
    records = swap(records, failed, status="completed")
    answers = pick(records, "return", command="query-migrate")
    return swap(records, answers, value={"status": "completed"})


def _over_multifd_all_the_same(records: list[Record]) -> list[Record]:
    begun = one(records, seen.SAVE_MAIN_START)
    return [*records, change(begun, name=seen.THREAD_START, side=DST)]


@twin("SET-2", "SET-1", on="compression")
def compression_ignored(records: list[Record]) -> list[Record]:
    return _over_multifd_all_the_same(records)


@twin("SET-3", "SET-1", on="old machine")
def old_machine_ignored(records: list[Record]) -> list[Record]:
    return _over_multifd_all_the_same(records)


@twin("SET-4")
def channel_missing(records: list[Record]) -> list[Record]:
    thread = one(records, "multifd_recv_thread_start")
    return [record for record in records if record is not thread]


@twin("SET-6", "RUN", on="two versions")
def other_version_is_not_understood(records: list[Record]) -> list[Record]:
    told = some(records, "MIGRATION", status="completed", side=DST)
    records = [record for record in records if record.name not in ("RESUME", "received")]
    answer = one(records, "return", side=DST, command="query-migrate")
    value = {"status": "failed", "error-desc": "Unknown section 'vfio' for instance 0"}
    return swap(swap(records, told, status="failed"), [answer], value=value)


@twin("SET-6", "ORD-1", on="two versions")
def other_version_cuts_the_state_short(records: list[Record]) -> list[Record]:
    received = one(records, "received", kind=Kind.DEVICE)
    size = held(received).bytes - MIB
    return swap(records, [received], bytes=size, digest="0" * 32, first_difference=size)


@twin("SET-8", on="blocked")
def blocked_migration_begun(records: list[Record]) -> list[Record]:
    refusal = one(records, "error", command="migrate")
    begun = Record(refusal.t_ns, SRC, Kind.QMP, "MIGRATION", {"status": "active"})
    return [*records, begun]


@twin("SET-8", on="blocked")
def blocked_without_reason(records: list[Record]) -> list[Record]:
    return swap(records, [one(records, "error", command="migrate")], desc="")


@twin("SET-8", on="blocked")
def blocked_migration_stops_the_source(records: list[Record]) -> list[Record]:
    answer = one(records, "return", side=SRC, command="query-status")
    return swap(records, [answer], value={"status": "paused", "running": False})


@twin("SET-8", on="launch refused")
def started_with_a_device_that_cannot_migrate(records: list[Record]) -> list[Record]:
    command = {"command": "migrate-set-capabilities"}
    up = [
        Record(record.t_ns + 1, record.side, Kind.QMP, name, dict(command))
        for record in some(records, "launched")
        for name in ("execute", "return")
    ]
    asked = [change(record, asked=True, status=0) for record in pick(records, "exited")]
    return [*(r for r in records if r.name not in ("exited", "stderr")), *up, *asked]


# -- RUN ---------------------------------------------------------------------------------


@twin("RUN")
def destination_crashes(records: list[Record]) -> list[Record]:
    end = one(records, "exited", side=DST)
    return swap(records, [end], status=-1, signal=11)


@twin("RUN")
def source_exits(records: list[Record]) -> list[Record]:
    end = one(records, "exited", side=SRC)
    return swap(records, [end], status=1, asked=False)


@twin("RUN")
def destination_fails(records: list[Record]) -> list[Record]:
    told = pick(records, "MIGRATION", status="completed", side=DST)
    records = [record for record in records if record.name not in ("RESUME", "received")]
    answer = one(records, "return", side=DST, command="query-migrate")
    value = {"status": "failed", "error-desc": "load of migration failed: Input/output error"}
    return swap(swap(records, told, status="failed"), [answer], value=value)


@twin("RUN")
def monitor_stops_answering(records: list[Record]) -> list[Record]:
    quit_ns = one(records, "execute", side=DST, command="quit").t_ns
    hung = Hung(waiting_for="query-migrate", backtrace="")
    return [*records, Record.of(quit_ns, DST, hung)]


@twin("RUN")
def destination_does_not_quit(records: list[Record]) -> list[Record]:
    end = one(records, "exited", side=DST)
    return swap(records, [end], status=-1, signal=9)


@twin("RUN")
def settings_refused(records: list[Record]) -> list[Record]:
    """QEMU refuses parameters that it must accept, and goes on all the same."""
    answer = one(records, "return", side=SRC, command="migrate-set-parameters")
    error = {"command": "migrate-set-parameters", "class": "GenericError", "desc": "no"}
    refused = Record(answer.t_ns, SRC, Kind.QMP, "error", error)
    return [refused if record is answer else record for record in records]
