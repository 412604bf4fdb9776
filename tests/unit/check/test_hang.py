"""Why a migration hangs, as far as the trace tells."""

import pytest

from harness.check.hang import SYNC_DONE, SYNC_SIGNAL, cause
from harness.check.run import SAVE_THREAD_END, SAVE_THREAD_START, CheckedRun
from harness.history import Kind, Record, Side
from harness.model.expectation import expect
from tests.unit.check.histories import FACTS, SRC, device, find, history, scenario
from tests.unit.check.story import START

S = 10**9
DEADLINE = Record(
    START + 30 * S, Side.HARNESS, Kind.SESSION, "deadline", {"waiting_for": "the end"}
)


def trace(after_s: float, name: str, device: str = "") -> Record:
    return Record(START + int(after_s * S), SRC, Kind.TRACE, name, {}, device)


def hung(*records: Record, devices=("vfio0",)):
    of = scenario(*(device(name) for name in devices))
    return history(of, [*records, DEADLINE])


def told(*records: Record, devices=("vfio0",)):
    run = hung(*records, devices=devices)
    return cause(CheckedRun(run, expect(run.scenario, FACTS, FACTS)), DEADLINE)


STUCK = (trace(1, SAVE_THREAD_START, "vfio0"), trace(2, SYNC_SIGNAL))


def test_sync_that_never_ends_while_a_device_still_queues():
    found = told(*STUCK)
    assert found is not None
    sentence, evidence = found
    assert "waits in multifd_send_sync_main() for its channels" in sentence
    assert "while vfio0 still queues state" in sentence
    assert {record.name for record in evidence} == {SYNC_SIGNAL, SAVE_THREAD_START}


def test_all_devices_that_still_queue_are_named():
    found = told(*STUCK, trace(1, SAVE_THREAD_START, "b"), devices=("vfio0", "b"))
    assert found is not None
    assert "while b, vfio0 still queue state" in found[0]


def test_sync_before_the_one_that_hangs_changes_nothing():
    assert told(trace(0.5, SYNC_SIGNAL), trace(0.6, SYNC_DONE), *STUCK) is not None


@pytest.mark.parametrize(
    "records",
    [
        (),
        (trace(2, SYNC_SIGNAL),),
        (trace(1, SAVE_THREAD_START, "vfio0"),),
        (*STUCK, trace(3, SYNC_DONE)),
        (*STUCK, trace(3, SAVE_THREAD_END, "vfio0")),
        (trace(1, SAVE_THREAD_START, "vfio0"), trace(31, SYNC_SIGNAL)),
    ],
    ids=["nothing", "no device", "no sync", "sync done", "device done", "after the deadline"],
)
def test_another_shape_has_no_name(records):
    assert told(*records) is None


def test_the_verdict_tells_it():
    finding = find(hung(*STUCK), "RUN")
    assert finding.sentence.startswith("the end did not come: the source's migration thread")
    assert finding.evidence[-1] == DEADLINE
