"""Broken twins of runs with faults on the way: QEMUs that take what they must refuse, refuse
it badly, or cannot wait.
"""

from harness.check.evidence import INCOMING, STARVED
from harness.history.records import Kind, Record, Side, plain
from harness.history.session import Deadline
from tests.twins.damage import Unfit, change, one, pick, some, swap
from tests.twins.twin import twin

SRC, DST = Side.SOURCE, Side.DESTINATION
WAIT_S = 15


def _accepted(records: list[Record]) -> list[Record]:
    """Both sides complete what the destination must refuse."""
    _on_wire(records)
    failed = some(records, "MIGRATION", status="failed")
    answers = pick(records, "return", command="query-migrate")
    records = swap(swap(records, failed, status="completed"), answers, value={})
    return [record for record in records if record.name != "stderr"]


def _on_wire(records: list[Record]) -> None:
    if not any(record.kind is Kind.WIRE for record in records):
        raise Unfit("there is no relay")


@twin("REF-1", "RUN", on="duplicate")
def duplicate_accepted(records: list[Record]) -> list[Record]:
    return _accepted(records)


@twin("REF-1", "RUN", on="duplicate")
def duplicate_kills_the_destination(records: list[Record]) -> list[Record]:
    """As an assertion does."""
    _on_wire(records)
    return swap(records, [one(records, "exited", side=DST)], status=-1, signal=6, asked=False)


@twin("REF-2", "RUN", on="foreign device")
def packet_for_the_main_channel_accepted(records: list[Record]) -> list[Record]:
    return _accepted(records)


@twin("REF-3", "RUN", on="short packet")
def short_packet_accepted(records: list[Record]) -> list[Record]:
    return _accepted(records)


@twin("REF-4", "RUN", on="version")
def unknown_version_accepted(records: list[Record]) -> list[Record]:
    return _accepted(records)


@twin("REF-5", "RUN", on="invalid index")
def invalid_index_accepted(records: list[Record]) -> list[Record]:
    return _accepted(records)


@twin("REF-6", on="far index")
def far_index_takes_all_memory(records: list[Record]) -> list[Record]:
    return swap(records, some(records, "memory", side=DST), hwm_kib=24_000_000)


@twin("REF-7", "RUN", on="two configurations")
def second_configuration_accepted(records: list[Record]) -> list[Record]:
    return _accepted(records)


@twin("REF-8", "RUN", on="config marker")
def damaged_configuration_accepted(records: list[Record]) -> list[Record]:
    return _accepted(records)


@twin("REF-9", "RUN", on="unknown idstr")
def packet_for_nobody_accepted(records: list[Record]) -> list[Record]:
    return _accepted(records)


@twin("REF-10", "RUN", on="magic")
def damaged_channel_accepted(records: list[Record]) -> list[Record]:
    return _accepted(records)


@twin("REF-11", on="duplicate")
def error_names_no_device(records: list[Record]) -> list[Record]:
    text = "state buffer 3 already filled"
    records = swap(records, some(records, "stderr", side=DST), line=text)
    answer = one(records, "return", side=DST, command="query-migrate")
    return swap(records, [answer], value={"status": "failed", "error-desc": text})


@twin("REF-12", "RUN", on="over the limit")
def limit_of_queued_bytes_ignored(records: list[Record]) -> list[Record]:
    return _accepted(records)


@twin("LIF-1", on="missing packet")
def monitor_stops_while_it_waits(records: list[Record]) -> list[Record]:
    return swap(records, some(records, "hung", side=DST), main_loop_alive=False)


@twin("LIF-1", on="missing packet")
def waits_for_another_packet(records: list[Record]) -> list[Record]:
    return swap(records, some(records, STARVED), idx=3)


@twin("LIF-1", "RUN", on="missing packet")
def missing_packet_is_not_missed(records: list[Record]) -> list[Record]:
    given_up = one(records, "deadline")
    records = [record for record in records if record.name not in ("deadline", "hung")]
    ends = [
        Record(given_up.t_ns, side, Kind.QMP, "MIGRATION", {"status": "completed"})
        for side in (SRC, DST)
    ]
    return [*records, *ends]


@twin("LIF-2", "RUN", on="closed channel")
def closed_channel_is_waited_for(records: list[Record]) -> list[Record]:
    """Until the deadline; the harness runs meanwhile, and records QEMU's memory."""
    _on_wire(records)
    failed = some(records, "MIGRATION", status="failed")
    ids = {id(record) for record in failed}
    kept = [record for record in records if id(record) not in ids and record.name != "stderr"]
    answers = pick(kept, "return", command="query-migrate")
    waiting = swap(kept, answers, value={"status": "active"})
    since_ns = failed[0].t_ns
    until_ns = since_ns + WAIT_S * 10**9
    late = [
        change(record, t_ns=record.t_ns - since_ns + until_ns) if record.t_ns > since_ns else record
        for record in waiting
    ]
    samples = [
        change(sample, t_ns=t_ns)
        for sample in pick(records, "memory")[:1]
        for t_ns in range(since_ns, until_ns, 10**8)
    ]
    gave_up = Deadline(waiting_for="the end of destination", deadline_s=WAIT_S)
    return [*late, *samples, Record.of(until_ns, Side.HARNESS, gave_up)]


@twin("LIF-9", on="duplicate")
def source_reports_completed(records: list[Record]) -> list[Record]:
    _on_wire(records)
    failed = some(records, "MIGRATION", side=SRC, status="failed")
    answers = pick(records, "return", side=SRC, command="query-migrate")
    return swap(swap(records, failed, status="completed"), answers, value={"status": "completed"})


@twin("STA-3", on="relayed")
def packet_is_not_told(records: list[Record]) -> list[Record]:
    """One packet was delivered once more than the trace tells."""
    out = one(records, "packet_out")
    return [*records, change(out, channel=out.channel)]


@twin("STA-3", on="relayed")
def packet_told_on_another_channel(records: list[Record]) -> list[Record]:
    _on_wire(records)
    ends = [record for record in records if record.name == "multifd_recv_thread_end"]
    records = [record for record in records if record not in ends]
    incoming = one(records, INCOMING)
    return swap(records, [incoming], channel=incoming.channel + 1)


@twin("STA-1", on="relayed")
def statistics_forget_a_byte(records: list[Record]) -> list[Record]:
    _on_wire(records)
    answer = one(records, "return", side=SRC, command="query-migrate")
    told = plain(answer)["value"]["vfio"]["transferred"] - 1
    return swap(records, [answer], value={**plain(answer)["value"], "vfio": {"transferred": told}})
