"""Records are kept, heard and watched for; those of a side get the side that it is now."""

import asyncio
import threading

from harness.history import Kind, Record, Side
from harness.history.session import NotConverged
from harness.scenario.action_plan import Target, When, status
from harness.session.log import Log, SideLog

DEADLINE_S = 5.0


def told(name="MIGRATION", side=Side.SOURCE, kind=Kind.QMP, **args):
    return Record(1, side, kind, name, args)


def test_every_record_is_kept_and_heard():
    log, heard = Log(), []
    log(told("before"))
    log.listen(heard.append)
    log(told("after"))
    assert [record.name for record in log.records] == ["before", "after"]
    assert heard == log.records[1:]


def test_what_the_session_itself_did_is_recorded_of_the_harness():
    log = Log()
    log.record(NotConverged(2))
    (record,) = log.records
    assert (record.side, record.kind, record.name) == (Side.HARNESS, Kind.SESSION, "not_converged")
    assert record.args == NotConverged(2)
    assert record.t_ns > 0


async def is_set(watch) -> bool:
    try:
        async with asyncio.timeout(0.02):
            await watch.wait()
    except TimeoutError:
        return False
    return True


async def test_watch_is_reached_by_the_record_that_it_is_about_only():
    log = Log()
    watch = log.watch(status(Target.SOURCE, "active"))
    for other in (
        told(status="setup"),
        told(side=Side.DESTINATION, status="active"),
        told(kind=Kind.TRACE, status="active"),
        told("STOP", status="active"),
        told(),
    ):
        log(other)
    assert not await is_set(watch)
    log(told(status="active", more=1))
    assert await is_set(watch)


async def test_watch_counts():
    log = Log()
    watch = log.watch(When(count=3))
    for _ in range(2):
        log(told())
    assert not await is_set(watch)
    log(told())
    assert await is_set(watch)


async def test_watch_is_reached_from_another_thread():
    log = Log()
    watch = log.watch(When())
    thread = threading.Thread(target=log, args=(told(),))
    thread.start()
    async with asyncio.timeout(DEADLINE_S):
        await watch.wait()
    thread.join()


def test_side_log_records_for_the_side_and_in_the_log_that_it_has_now():
    first, second = Log(), Log()
    log = SideLog(Side.DESTINATION, first)
    log(told(side=Side.DESTINATION))
    first(told("other"))
    assert [record.name for record in log.records] == ["MIGRATION"]
    log.move(Side.SOURCE, second)
    log(told(side=Side.DESTINATION, status="setup"))
    assert [record.side for record in first.records] == [Side.DESTINATION, Side.SOURCE]
    assert [record.side for record in second.records] == [Side.SOURCE]
    assert second.records[0].args == {"status": "setup"}
