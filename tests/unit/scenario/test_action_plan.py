"""Actions describe themselves, and refuse what can never come."""

import msgspec
import pytest

from harness.scenario.action_plan import (
    ActionPlan,
    Execute,
    Kill,
    Storm,
    Suspend,
    Target,
    Tell,
    When,
    is_quit,
    may_end,
    status,
)

ACTIVE = status(Target.SOURCE, "active")
PLAN: ActionPlan = (
    Execute(when=ACTIVE, target=Target.SOURCE, command="migrate_cancel"),
    Kill(when=When(kind="wire", name="packet_out", args={"idx": 3}, count=2), target=Target.SOURCE),
    Storm(when=status(Target.DESTINATION, "active"), target=Target.DESTINATION),
    Tell(when=ACTIVE, name="go", value=7),
    Suspend(when=ACTIVE),
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
                "notify the faults of go at source MIGRATION status=active",
                "suspend the source's guest at source MIGRATION status=active",
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


def test_unknown_field_is_refused():
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.json.decode(b'{"cuont": 1}', type=When)


def test_refusal_that_is_expected_is_said():
    action = Execute(
        when=ACTIVE, target=Target.SOURCE, command="device_del", refused_with="hot-?plug"
    )
    assert action.describe() == (
        "device_del to the source at source MIGRATION status=active, which it must refuse"
    )
    assert msgspec.json.decode(msgspec.json.encode(action), type=Execute) == action


def test_refusal_that_is_no_regular_expression_is_refused():
    with pytest.raises(ValueError, match=r"refused_with '\('"):
        Execute(when=ACTIVE, target=Target.SOURCE, command="stop", refused_with="(")


def test_storm_without_commands_is_refused():
    with pytest.raises(ValueError, match="a storm needs commands"):
        Storm(when=ACTIVE, target=Target.SOURCE, commands=())


@pytest.mark.parametrize(
    ("command", "line", "effect"),
    [
        ("stop", None, "stop"),
        ("human-monitor-command", "stop", "stop"),
        ("human-monitor-command", " s ", "stop"),
        ("human-monitor-command", "q", "quit"),
        ("human-monitor-command", "c", "cont"),
        ("human-monitor-command", "info migrate", "info"),
        ("human-monitor-command", "", ""),
        ("query-status", None, "query-status"),
    ],
)
def test_command_of_the_human_monitor_amounts_to_one_of_qmp(command, line, effect):
    arguments = {} if line is None else {"command-line": line}
    action = Execute(when=ACTIVE, target=Target.SOURCE, command=command, arguments=arguments)
    assert action.effect == effect


@pytest.mark.parametrize(
    ("command", "ends", "quits"),
    [
        ("quit", True, True), ("system_powerdown", True, False), ("inject-nmi", True, False),
        ("stop", False, False), ("migrate_cancel", False, False),
    ],
)  # fmt: skip
def test_commands_that_may_end_a_qemu(command, ends, quits):
    action = Execute(when=ACTIVE, target=Target.SOURCE, command=command)
    assert (may_end(action), is_quit(action)) == (ends, quits)
    assert not may_end(Kill(when=ACTIVE, target=Target.SOURCE))
