"""Broken twins of runs that are cancelled, lose a QEMU, follow another one, or are measured."""

from harness.check.convergence import EXACT
from harness.check.evidence import CONFIG_START
from harness.history.process import Hung
from harness.history.records import Kind, Record, Side, plain
from harness.history.session import Deadline
from tests.twins.damage import change, drop, held, one, pick, some, swap
from tests.twins.twin import twin

SRC, DST = Side.SOURCE, Side.DESTINATION


@twin("LIF-3", "RUN", on="killed destination")
def source_dies_with_its_destination(records: list[Record]) -> list[Record]:
    return swap(records, [one(records, "exited", side=SRC)], status=-1, signal=6, asked=False)


@twin("LIF-3", on="killed destination")
def source_stays_stopped(records: list[Record]) -> list[Record]:
    return _stopped(records)


@twin("LIF-4", on="cancelled")
def cancelled_guest_runs_twice(records: list[Record]) -> list[Record]:
    """The destination had all of it, and nobody told it of the cancel."""
    failed = one(records, "MIGRATION", side=DST, status="failed")
    records = swap(records, [failed], status="completed")
    return [*records, Record(failed.t_ns, DST, Kind.QMP, "RESUME")]


@twin("LIF-4", on="cancelled")
def cancelled_source_stays_stopped(records: list[Record]) -> list[Record]:
    return _stopped(records)


@twin("LIF-5", on="device error")
def device_error_names_nobody(records: list[Record]) -> list[Record]:
    answer = one(records, "return", side=DST, command="query-migrate")
    value = {**plain(answer)["value"], "error-desc": "Input/output error"}
    return swap(records, [answer], value=value)


@twin("LIF-6", on="storm")
def command_is_not_answered(records: list[Record]) -> list[Record]:
    answer = one(records, "return", side=DST, command="query-pci")
    return [record for record in records if record is not answer]


@twin("LIF-7", "STA-1", on="second migration")
def counter_is_not_reset(records: list[Record]) -> list[Record]:
    answer = one(records, "return", side=SRC, command="query-migrate")
    value = plain(answer)["value"]
    twice = {"transferred": 2 * value["vfio"]["transferred"]}
    return swap(records, [answer], value={**value, "vfio": twice})


@twin("LIF-8", on="measured")
def queue_is_held_twice(records: list[Record]) -> list[Record]:
    ended = one(records, "memory", side=DST, at="ended")
    return swap(records, [ended], hwm_kib=held(ended).hwm_kib + 100_000)


@twin("LIF-8", on="measured")
def queue_is_never_freed(records: list[Record]) -> list[Record]:
    ended = one(records, "memory", side=DST, at="ended")
    return swap(records, [ended], rss_kib=held(ended).rss_kib + 64_000)


@twin("PRE-5", on="not converging")
def source_does_not_switch_over(records: list[Record]) -> list[Record]:
    """Less is pending than allowed, pass after pass."""
    return swap(records, some(records, EXACT), size=1, pre=1)


@twin("PRE-5", on="not converging")
def source_stays_stopped_after_pre_copy(records: list[Record]) -> list[Record]:
    return _stopped(records)


@twin("SET-7", on="after iter")
def configuration_does_not_wait(records: list[Record]) -> list[Record]:
    resumed, loaded = one(records, "main_resumed"), one(records, CONFIG_START)
    return [*drop(records, "main_resumed"), change(resumed, t_ns=loaded.t_ns + 1)]


@twin("SET-9", "RUN", on="no return path")
def source_does_not_send_the_rest(records: list[Record]) -> list[Record]:
    told = pick(records, "MIGRATION", status="completed", side=DST)
    answer = one(records, "return", side=DST, command="query-migrate")
    value = {"status": "failed", "error-desc": "Unexpected end-of-file"}
    records = [record for record in records if record.name not in ("RESUME", "received")]
    return swap(swap(records, told, status="failed"), [answer], value=value)


@twin("LIF-10", on="paused")
def paused_guest_runs_after_the_cancel(records: list[Record]) -> list[Record]:
    answer = one(records, "return", side=SRC, command="query-status")
    return swap(records, [answer], value={"status": "running", "running": True})


@twin("LIF-10", on="suspended")
def suspended_guest_runs_after_the_cancel(records: list[Record]) -> list[Record]:
    answer = one(records, "return", side=SRC, command="query-status")
    return swap(records, [answer], value={"status": "running", "running": True})


@twin("LIF-11", "RUN", on="quit as planned")
def qemu_crashes_on_its_way_out(records: list[Record]) -> list[Record]:
    return swap(records, [one(records, "exited", side=DST)], status=-1, signal=11)


@twin("LIF-12", on="unplug refused")
def device_is_gone_while_it_migrates(records: list[Record]) -> list[Record]:
    cancelling = one(records, "MIGRATION", side=SRC, status="cancelling")
    gone = {"device": "vfio0", "path": "/machine/peripheral/vfio0"}
    return [*records, Record(cancelling.t_ns - 1, SRC, Kind.QMP, "DEVICE_DELETED", gone)]


@twin("LIF-15", on="pause refused")
def migration_is_paused_without_postcopy(records: list[Record]) -> list[Record]:
    answer = one(records, "action_ended", position=0)
    return swap(records, [answer], how="done", error_class=None, desc=None)


@twin("LIF-14", on="connection refused")
def destination_waits_for_the_rest(records: list[Record]) -> list[Record]:
    end = one(records, "MIGRATION", side=DST, status="failed")
    late = Deadline(waiting_for="the end of destination", deadline_s=15.0, waited_s=3.0)
    alive = {"main_loop_alive": True, "monitor_alive": True}
    hung = Hung(waiting_for="the end of destination", backtrace="", **alive)
    kept = drop(records, "MIGRATION", side=DST, status="failed")
    return [*kept, Record.of(end.t_ns, Side.HARNESS, late), Record.of(end.t_ns, DST, hung)]


@twin("LIF-14", on="nobody listens")
def source_is_lost_as_nobody_listens(records: list[Record]) -> list[Record]:
    answer = one(records, "return", side=SRC, command="query-status")
    return swap(records, [answer], value={"status": "postmigrate", "running": False})


@twin("LIF-13", on="second after a cancel")
def socket_is_left_open(records: list[Record]) -> list[Record]:
    ended = one(records, "resources", side=SRC, at="ended")
    return swap(records, [ended], descriptors={"file": 3, "socket": 2})


@twin("LIF-13", on="second after a cancel")
def thread_is_left(records: list[Record]) -> list[Record]:
    ended = one(records, "resources", side=SRC, at="ended")
    return swap(records, [ended], threads={"call_rcu": 1, "mig/src/main": 1, "qemu": 1})


def _stopped(records: list[Record]) -> list[Record]:
    answer = one(records, "return", side=SRC, command="query-status")
    return swap(records, [answer], value={"status": "finish-migrate", "running": False})
