"""What QEMU refused before anything was sent."""

import pytest

from harness.check import set_up
from harness.check.evidence import Evidence, Seen
from harness.model.expectation import expect
from tests.unit.check.histories import DST, FACTS, SRC, Story, good, history, refused, scenario

NO = "Zero copy only available for non-compressed non-TLS multifd migration"


def checked(run) -> Evidence:
    return Evidence(Seen(run), expect(run.scenario, FACTS, FACTS))


def refuses(side, command, error=NO, **fields) -> Evidence:
    """One command of the set-up is refused, and nothing follows."""
    story, of = Story(), scenario(**fields)
    story.qmp(side, command, error=error)
    story.end("inmigrate")
    return checked(history(of, story.records))


@pytest.mark.parametrize("side", [SRC, DST])
@pytest.mark.parametrize("command", set_up.SETTINGS)
def test_refusal_of_the_settings(side, command):
    run = refuses(side, command)
    record = set_up.refused(run, side, *set_up.SETTINGS)
    assert record is not None
    assert set_up.words(record) == f'the {side} refused {command}: "{NO}"'
    assert set_up.refusal(run) is record


def test_refusal_of_another_command_or_side_is_none():
    run = refuses(SRC, "migrate-set-parameters")
    assert set_up.refused(run, DST, *set_up.SETTINGS) is None
    assert set_up.refused(run, SRC, set_up.CREDENTIALS) is None


def test_command_once_the_migration_has_begun_is_an_action():
    run = good("multifd")
    story = Story(at=run.records[-1].t_ns)
    story.qmp(SRC, "migrate-set-parameters", error=NO)
    late = checked(history(run.scenario, [*run.records, *story.records]))
    assert set_up.refused(late, SRC, *set_up.SETTINGS) is None
    assert set_up.refusal(late) is None


@pytest.mark.parametrize(("side", "command"), [(DST, "migrate-incoming"), (SRC, "migrate")])
def test_refusal_of_the_migration_itself(side, command):
    record = set_up.refusal(refuses(side, command))
    assert record is not None
    assert (record.side, record.args["command"]) == (side, command)


def test_run_that_was_not_refused():
    assert set_up.refusal(checked(good("multifd"))) is None


def test_reason_is_that_of_the_expectation():
    said = set_up.reason(checked(good("refused")))
    assert said is not None
    assert "requested but unsupported" in said[1]
    assert set_up.reason(checked(refused(scenario(multifd=False), "Out of memory"))) is None
    assert set_up.reason(checked(good("multifd"))) is None, "nothing is expected"
