"""SET-9: switchover-ack and return-path, on and off."""

import pytest

from harness.check.evidence import MAIN_DATA
from harness.check.judge import judge
from harness.check.verdict import Outcome
from harness.history import Kind, Side
from harness.history.records import Record
from harness.history.session import Action
from harness.scenario import MIB
from tests.twins.damage import change, one
from tests.unit.check.histories import changed, completed, evidence_of, find, only, without
from tests.unit.check.lives import STOP, Life
from tests.unit.check.story import DST, SRC, US, device, scenario

ACK = {"switchover-ack": True}
PRECOPY = device(pre_copy=True, precopy_initial_bytes=3 * MIB)


def stopped(run, after: bool = True):
    """``run``, whose source stopped after or before the last initial bytes were loaded."""
    last = one(run.records, MAIN_DATA)
    at = last.t_ns + (US if after else -US)
    return changed(run, [*run.records, Record(at, SRC, Kind.QMP, "STOP")])


def test_no_return_path_completes():
    assert find(completed(scenario(return_path=False)), "SET-9").outcome is Outcome.VALID


@pytest.mark.parametrize("is_on", [True, False])
def test_ack_without_precopy_asks_for_nothing(is_on):
    run = completed(scenario(capabilities={"switchover-ack": is_on}))
    run = changed(run, [*run.records, Record(run.records[9].t_ns, SRC, Kind.QMP, "STOP")])
    assert find(run, "SET-9").outcome is Outcome.VALID


def test_default_is_not_asked():
    assert "is not set" in judge(completed(scenario())).not_applicable["SET-9"]


def test_source_that_stops_once_the_initial_bytes_are_loaded():
    finding = find(stopped(completed(scenario(PRECOPY, capabilities=ACK))), "SET-9")
    assert finding.outcome is Outcome.VALID
    assert finding.numbers == {"initial": 3 * MIB}


def test_source_that_does_not_wait():
    finding = find(stopped(completed(scenario(PRECOPY, capabilities=ACK)), after=False), "SET-9")
    assert finding.outcome is Outcome.VIOLATED
    assert f"had loaded {2 * MIB} of {3 * MIB} initial bytes" in finding.sentence


def test_stop_that_was_not_seen_is_unknown():
    run = completed(scenario(PRECOPY, capabilities=ACK))
    assert find(run, "SET-9").outcome is Outcome.UNKNOWN


def half(destination: str, **fields) -> Life:
    """The source completes alone."""
    life = Life(scenario(**fields))
    life.trace(DST, "vfio_load_bufs_thread_start", "vfio0")
    life.status(SRC, "completed")
    life.status(DST, destination)
    life.qmp(DST, "query-migrate", {"status": destination, "error-desc": "Unexpected end"})
    life.quit(SRC)
    life.quit(DST)
    return life


def test_source_that_completes_alone():
    finding = find(half("failed", return_path=False).history(), "SET-9")
    assert finding.outcome is Outcome.VIOLATED
    assert "without a return path the source completed" in finding.sentence
    assert evidence_of(finding)[-1].args["value"]["error-desc"] == "Unexpected end"


def test_state_that_is_not_whole():
    run = completed(scenario(return_path=False))
    (got,) = only(run, "received")
    short = change(got, bytes=1)
    run = changed(run, [*without(run, "received").records, short])
    assert "vfio0 holds 1 of" in find(run, "SET-9").sentence


def test_migration_that_fails_is_unknown():
    life = Life(scenario(return_path=False))
    life.trace(DST, "vfio_load_bufs_thread_start", "vfio0")
    life.status(SRC, "failed")
    life.status(DST, "failed")
    life.quit(SRC)
    life.quit(DST)
    assert find(life.history(), "SET-9").outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(("is_done", "outcome"), [(True, Outcome.VALID), (False, Outcome.VIOLATED)])
def test_stop_that_the_scenario_wants_is_no_switchover(is_done, outcome):
    """Wrong if a pause in pre-copy is taken for it; or if a pause that was not done hides it."""
    run = stopped(completed(scenario(PRECOPY, capabilities=ACK, actions=(STOP,))), after=False)
    acted = Record.of(run.records[0].t_ns, Side.HARNESS, Action(action="", position=0))  # fmt: skip
    finding = find(changed(run, [*run.records, acted] if is_done else list(run.records)), "SET-9")
    assert finding.outcome is outcome


@pytest.mark.parametrize(
    ("changes", "acts", "outcome"),
    [
        (((0, "paused"),), True, Outcome.VALID),
        (((1, "running"), (0, "paused")), True, Outcome.VALID),
        (((0, "paused"), (1, "running"), (0, "finish-migrate")), True, Outcome.VIOLATED),
        (((0, "finish-migrate"),), True, Outcome.VIOLATED),
        (((0, "paused"), (1, "running")), True, Outcome.UNKNOWN),
        ((), True, Outcome.UNKNOWN),
        (((0, "paused"),), False, Outcome.VIOLATED),
    ],
)
def test_guest_that_is_paused_is_not_waited_for(changes, acts, outcome):
    """Its switchover is the status ``device``: here before the last initial bytes are loaded."""
    run = stopped(completed(scenario(PRECOPY, capabilities=ACK, actions=(STOP,))), after=False)
    at = one(run.records, MAIN_DATA).t_ns - US
    (status,) = only(run, "MIGRATION", side=SRC, args={"status": "device"})
    records = [change(r, t_ns=at) if r is status else r for r in run.records]
    for number, (running, reason) in enumerate(changes):
        args = {"name": "vfio0", "running": running, "reason": reason, "dev_state": ""}
        begun = run.records[0].t_ns + number
        records.append(Record(begun, SRC, Kind.TRACE, "vfio_vmstate_change", args, "vfio0"))
    if acts:
        records.append(Record.of(run.records[0].t_ns, Side.HARNESS, Action(action="", position=0)))
    assert find(changed(run, records), "SET-9").outcome is outcome
