"""Each action is done once, at its moment; which were done is recorded."""

import asyncio
from typing import Any

import pytest

from harness.action_plan import Execute, Kill, Storm, Target, Tell, When
from harness.errors import LostVM, QmpError
from harness.history import Kind, Record, Side
from harness.session.actions import AT_ONCE, Actions
from harness.session.log import Log

DEADLINE_S = 5.0
NOW, NEVER = When(name="now"), When(name="never")


class Qemu:
    """A QEMU and its monitor; ``error`` is what each command raises."""

    def __init__(self, error: Exception | None = None):
        self.monitor = self
        self.is_running = True
        self.error = error
        self.executed: list[tuple[str, Any]] = []
        self.kills = 0
        self.in_flight = self.most_in_flight = 0
        self.has_enough = asyncio.Event()

    async def execute(self, command, arguments=None):
        self.executed.append((command, arguments))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if len(self.executed) >= 30:
            self.has_enough.set()
        await asyncio.sleep(0)
        self.in_flight -= 1
        if self.error:
            raise self.error

    def kill(self):
        self.kills += 1


def now():
    return Record(1, Side.SOURCE, Kind.QMP, "now")


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def carry_out(log):
    """Make a block in which ``plan`` is carried out on ``vm``."""

    def make(vm, *plan, tell=lambda _name, _value: None):
        return Actions(plan, {Target.SOURCE: vm, Target.DESTINATION: Qemu()}, tell, log)

    return make


def noted(log, name):
    return [record.args for record in log.records if record.name == name]


async def until_idle():
    for _ in range(20):
        await asyncio.sleep(0)


async def test_command_is_executed_at_its_moment_and_once(carry_out, log):
    vm = Qemu()
    action = Execute(when=NOW, target=Target.SOURCE, command="stop", arguments={"a": 1})
    async with carry_out(vm, action):
        await until_idle()
        assert not vm.executed
        log(now())
        await until_idle()
        log(now())
        await until_idle()
    assert vm.executed == [("stop", {"a": 1})]
    assert noted(log, "action") == [{"action": action.describe(), "position": 0}]
    assert noted(log, "actions") == [{"done": [True]}]


async def test_action_whose_moment_does_not_come_is_told_as_not_done(carry_out, log):
    vm = Qemu()
    plan = [Kill(when=when, target=Target.SOURCE) for when in (NEVER, NOW)]
    async with carry_out(vm, *plan):
        log(now())
        await until_idle()
    assert vm.kills == 1
    assert noted(log, "actions") == [{"done": [False, True]}]


async def test_faults_are_told(carry_out, log):
    heard = []
    plan = Tell(when=NOW, name="go", value=3)
    async with carry_out(Qemu(), plan, tell=lambda *told: heard.append(told)):
        log(now())
        await until_idle()
    assert heard == [("go", 3)]


@pytest.mark.parametrize("error", [QmpError("x", "GenericError", "no"), LostVM("gone")])
async def test_refusal_is_left_to_the_records(carry_out, log, error):
    vm = Qemu(error)
    storm = Storm(when=NOW, target=Target.SOURCE)
    plain = Execute(when=NOW, target=Target.SOURCE, command="migrate_cancel")
    async with carry_out(vm, storm, plain):
        log(now())
        await until_idle()
    assert ("migrate_cancel", {}) in vm.executed
    assert noted(log, "actions") == [{"done": [True, True]}]


async def test_storm_goes_on_until_the_end_with_several_on_their_way(carry_out, log):
    vm = Qemu()
    storm = Storm(when=NOW, target=Target.SOURCE, commands=("query-status", "query-migrate"))
    async with asyncio.timeout(DEADLINE_S):
        async with carry_out(vm, storm):
            log(now())
            await vm.has_enough.wait()
    after = len(vm.executed)
    await until_idle()
    assert len(vm.executed) == after
    assert vm.most_in_flight == AT_ONCE
    assert {command for command, _ in vm.executed} == {"query-status", "query-migrate"}


async def test_error_of_the_block_comes_out_as_it_is(carry_out):
    with pytest.raises(QmpError):
        async with carry_out(Qemu(), Kill(when=NEVER, target=Target.SOURCE)):
            raise QmpError("migrate", "GenericError", "blocked")


async def test_no_plan_leaves_no_record(carry_out, log):
    async with carry_out(Qemu()):
        pass
    assert not log.records


async def test_action_whose_moment_comes_with_the_end_is_done(carry_out, log):
    vm = Qemu()
    async with carry_out(vm, Kill(when=NOW, target=Target.SOURCE)):
        log(now())  # and the block ends before anybody could look
    assert vm.kills == 1
