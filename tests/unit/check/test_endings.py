"""How a run ended, as its records tell."""

import pytest

from harness.check.damage import change, one, pick, swap
from harness.check.endings import Endings
from harness.check.run import CheckedRun
from harness.history import Kind, Record
from harness.model.expectation import expect
from tests.unit.check.histories import (
    DST,
    FACTS,
    SRC,
    UNSUPPORTED,
    Story,
    changed,
    good,
    history,
    scenario,
    without,
)


def endings(run) -> Endings:
    return CheckedRun(run, expect(run.scenario, FACTS, FACTS)).endings


def last_of(found: Endings, side) -> Record:
    record = found.last_status(side)
    assert record is not None
    return record


def test_both_sides_of_a_good_run_completed():
    found = endings(good("multifd"))
    assert found.status(SRC) == found.status(DST) == "completed"
    assert found.is_completed
    assert last_of(found, SRC).args["value"]["status"] == "completed"
    assert found.deadline is None
    assert found.hung == ()


def test_status_is_the_last_that_was_told():
    found = endings(good("refused"))
    assert found.status(SRC) == found.status(DST) == "failed"
    assert not found.is_completed


def test_nothing_told_is_no_status():
    found = endings(history(scenario(), []))
    assert found.status(SRC) == ""
    assert found.last_status(SRC) is None
    assert found.last_status(DST) is None
    assert found.launched[SRC] is None
    assert found.exited[DST] is None
    assert found.crash(SRC) is None
    assert found.quit_ns(SRC) is None


def test_destination_that_resumed_has_completed():
    run = without(without(good("multifd"), "return", side=DST), "MIGRATION", side=DST)
    found = endings(run)
    assert found.status(DST) == "completed"
    assert last_of(found, DST).name == "RESUME"


def test_destination_that_resumed_and_failed_has_failed():
    story = Story()
    story.add(DST, Kind.QMP, "RESUME")
    story.status(DST, "failed")
    assert endings(history(scenario(), story.records)).status(DST) == "failed"


def test_active_is_not_the_end():
    story = Story()
    story.status(DST, "setup", "active")
    found = endings(history(scenario(), story.records))
    assert found.status(DST) == "active"
    assert last_of(found, DST).args["status"] == "active"


@pytest.mark.parametrize(
    ("fields", "is_crash"),
    [
        ({"status": 0, "signal": 0, "asked": True}, False),
        ({"status": -1, "signal": 15, "asked": True}, False),
        ({"status": -1, "signal": 9, "asked": True}, False),
        ({"status": -1, "signal": 11, "asked": True}, True),
        ({"status": -1, "signal": 6, "asked": False}, True),
        ({"status": 1, "signal": 0, "asked": True}, True),
        ({"status": 0, "signal": 0, "asked": False}, True),
        ({"status": 1, "signal": 0, "asked": False}, True),
    ],
)
def test_end_that_nobody_asked_for_is_a_crash(fields, is_crash):
    run = good("multifd")
    end = one(run.records, "exited", side=DST)
    found = endings(changed(run, swap(list(run.records), [end], **fields)))
    assert (found.crash(DST) is not None) == is_crash
    assert found.crash(SRC) is None


def test_commands_and_their_answers():
    found = endings(good("blocked"))
    assert len(found.commands(SRC, "migrate")) == 1
    assert found.commands(SRC, "migrate", "return") == []
    assert "disabled" in found.commands(SRC, "migrate", "error")[0].args["desc"]
    assert found.commands(DST, "migrate") == []


def test_time_of_quit_is_known():
    run = good("multifd")
    told = one(run.records, "execute", side=SRC, command="quit")
    assert endings(run).quit_ns(SRC) == told.t_ns


def test_error_texts_come_from_answers_and_from_stderr():
    found = endings(good("refused"))
    source = [text for _, text in found.texts(SRC)]
    assert source == [UNSUPPORTED, f"qemu: {UNSUPPORTED}"]
    assert "load of stream failed" in [text for _, text in found.texts(None)]
    assert [text for _, text in endings(good("blocked")).texts(DST)] == []


def test_deadline_and_hang_are_found():
    run = good("multifd")
    last = run.records[-1]
    more = [
        change(last, name="hung", kind=Kind.PROCESS, side=DST),
        change(last, name="deadline", kind=Kind.SESSION, side="harness"),
    ]
    found = endings(changed(run, [*run.records, *more]))
    assert [record.side for record in found.hung] == [DST]
    assert found.deadline is not None


def test_answers_that_are_no_answers_are_passed_over():
    run = good("multifd")
    answers = pick(run.records, "return", command="query-migrate")
    found = endings(changed(run, swap(list(run.records), answers, value=None)))
    assert found.is_completed


def test_qemu_that_was_handed_over_has_ended_here_and_did_not_crash():
    run = good("multifd")
    end = one(run.records, "exited", side=DST)
    over = Record(end.t_ns, DST, Kind.PROCESS, "handed_over")
    found = endings(changed(run, [over if record is end else record for record in run.records]))
    assert found.exited[DST] is over
    assert found.crash(DST) is None
