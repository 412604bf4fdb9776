"""What the lines of kind ``session`` hold."""

import msgspec
import pytest

from harness.errors import HistoryError
from harness.history import Kind, session
from tests.unit.history.lines import read, written

UNSET = msgspec.UNSET


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"registers": {"0x04": 6}}, session.GuestConfig({"0x04": 6})),
        ({"words": [1, 2]}, session.GuestBar([1, 2])),
        ({"port": 49416, "registers": {"ier": 0, "fifo": "00ff"}},
         session.GuestSerial(49416, {"ier": 0, "fifo": "00ff"})),
        ({"waiting_for": "the end", "deadline_s": 5.0, "waited_s": 2.0},
         session.Deadline("the end", 5, 2)),
        ({"waiting_for": "stop within 10 s", "deadline_s": 5.0, "waited_s": None},
         session.Deadline("stop within 10 s", 5, None)),
        ({"still_s": 2.0, "uncounted_s": 0.5, "threads": {"source": 9}},
         session.Standstill(2.0, 0.5, {"source": 9})),
        ({"deadline_s": 1.5}, session.NotConverged(1.5)),
        ({"capture": "a/migration.capture"}, session.Replayed("a/migration.capture")),
        ({"after": "failed", "is_paused": True}, session.Continued("failed", True)),
        ({"with": "next"}, session.NotContinued("next")),
        ({"why": "TLS"}, session.NotCaptured("TLS")),
        ({"done": []}, session.Actions([])),
        ({"fired": [], "holding": []}, session.Faults([], [])),
    ],
)  # fmt: skip
def test_line_is_read_as_its_type_and_written_as_it_was(args, expected):
    assert read(Kind.SESSION, expected.NAME, **args) == expected
    assert written(expected) == args


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"position": 0, "how": "done"}, session.ActionEnded(0, "done")),
        ({"position": 0, "how": "refused", "class": "GenericError", "desc": "no"},
         session.ActionEnded(0, "refused", error_class="GenericError", desc="no")),
        ({"position": 0, "how": "done", "sent": 0, "refused": {}},
         session.ActionEnded(0, "done", sent=0, refused={})),
    ],
)  # fmt: skip
def test_what_came_of_an_action_is_written_as_far_as_it_is_there(args, expected):
    assert written(expected) == args
    assert msgspec.convert(args, session.ActionEnded) == expected


def test_what_earlier_harnesses_did_not_record_is_none_or_unset():
    assert read(Kind.SESSION, "deadline", waiting_for="x") == session.Deadline("x", None, UNSET)
    assert read(Kind.SESSION, "continued", after="completed") == session.Continued("completed")
    assert read(Kind.SESSION, "faults", fired=[]) == session.Faults([], None)


def test_position_is_one_of_the_scenario():
    with pytest.raises(HistoryError, match="action_ended: the scenario has no such position"):
        read(Kind.SESSION, "action_ended", position=0, how="done")
    with pytest.raises(HistoryError, match="Invalid enum value 'unwilling'"):
        read(Kind.SESSION, "action_ended", position=0, how="unwilling")
