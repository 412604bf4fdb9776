"""Actions describe themselves, and refuse what can never come."""

import msgspec
import pytest

from harness.action_plan import ActionPlan, Execute, Kill, Storm, Target, Tell, When, status

ACTIVE = status(Target.SOURCE, "active")
PLAN: ActionPlan = (
    Execute(when=ACTIVE, target=Target.SOURCE, command="migrate_cancel"),
    Kill(when=When(kind="wire", name="packet_out", args={"idx": 3}, count=2), target=Target.SOURCE),
    Storm(when=status(Target.DESTINATION, "active"), target=Target.DESTINATION),
    Tell(when=ACTIVE, name="go", value=7),
)


@pytest.mark.parametrize(
    ("action", "words"),
    list(
        zip(
            PLAN,
            [
                "migrate_cancel to the source at source MIGRATION status=active",
                "kill the source at packet_out idx=3, time 2",
                "a storm of 8 commands to the destination at destination MIGRATION status=active",
                "tell the faults go at source MIGRATION status=active",
            ],
            strict=True,
        )
    ),
)
def test_action_is_one_readable_line(action, words):
    assert action.describe() == words


def test_plan_comes_back_from_json():
    assert msgspec.json.decode(msgspec.json.encode(PLAN), type=ActionPlan) == PLAN


def test_moment_that_never_comes_is_refused():
    with pytest.raises(ValueError, match="count is 0"):
        When(count=0)


def test_field_that_nobody_knows_is_refused():
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.json.decode(b'{"cuont": 1}', type=When)
