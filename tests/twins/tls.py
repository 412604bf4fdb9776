"""Broken twins of runs with TLS."""

import msgspec

from harness.check.rules.set_5 import CHANNEL_TYPE, INCOMING_CHANNEL
from harness.history.process import Stderr
from harness.history.records import Kind, Record, Side
from tests.twins.damage import drop, held, one, some, swap
from tests.twins.twin import twin

SRC, DST = Side.SOURCE, Side.DESTINATION


@twin("SET-5", on="tls")
def multifd_channel_in_plain_text(records: list[Record]) -> list[Record]:
    opened = one(records, "channel_opened")
    plain = msgspec.structs.replace(
        opened, args=msgspec.structs.replace(held(opened), kind="multifd")
    )
    return [plain if record is opened else record for record in records]


@twin("SET-5", on="tls")
def channel_taken_without_its_session(records: list[Record]) -> list[Record]:
    """The destination reads a multifd channel from the socket itself."""
    secured = some(records, INCOMING_CHANNEL, ioctype=CHANNEL_TYPE)
    return [record for record in records if record is not secured[-1]]


@twin("SET-5", on="tls")
def session_left_open(records: list[Record]) -> list[Record]:
    """The destination has closed before the source ends its TLS sessions."""
    at = one(records, "exited", side=SRC).t_ns - 1
    failed = Record(at, SRC, Kind.TRACE, "qio_channel_tls_bye_fail", {"ioc": 1})
    said = Stderr(line="qemu: multifd_send_0: Failed to terminate TLS connection: Broken pipe")
    return [*records, failed, Record.of(at, SRC, said)]


@twin("SET-5", on="tls refused")
def refused_source_stops_for_good(records: list[Record]) -> list[Record]:
    answer = one(records, "return", side=SRC, command="query-status")
    value = {"status": "postmigrate", "running": False}
    return swap(records, [answer], value=value)


@twin("SET-5", "RUN", on="tls refused")
def wrong_key_is_taken(records: list[Record]) -> list[Record]:
    """The destination loads what comes, whoever sends it."""
    failed = one(records, "MIGRATION", side=SRC, status="failed")
    records = drop(swap(records, [failed], status="completed"), "stderr")
    answers = some(records, "return", command="query-migrate")
    loaded = [
        Record(failed.t_ns, DST, Kind.QMP, "RESUME"),
        Record(failed.t_ns, DST, Kind.QMP, "MIGRATION", {"status": "completed"}),
    ]
    return [*swap(records, answers, value={"status": "completed"}), *loaded]
