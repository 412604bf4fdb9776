"""Each action is done once, at its moment; which were done is recorded."""

import asyncio
from typing import Any

import pytest

from harness.errors import LostVM, QmpError, QmpTimeout
from harness.history import Kind, Record, Side, plain
from harness.history.process import Memory
from harness.scenario.action_plan import Execute, Kill, Storm, Suspend, Target, Tell, When
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
        self.refuses: dict[str, Exception] = {}
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
        if error := self.refuses.get(command, self.error):
            raise error

    def kill(self):
        self.kills += self.is_running
        return self.is_running


class Talking(Qemu):
    """One with a human monitor."""

    def __init__(self):
        super().__init__()
        self.lines: list[str] = []

    async def human(self, *lines):
        self.lines += lines
        return [""] * len(lines)


def now():
    return Record(1, Side.SOURCE, Kind.QMP, "now")


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def carry_out(log):
    """Make a block in which ``plan`` is carried out on ``vm``."""

    def make(vm, *plan, notify=lambda _name, _value: None):
        vms: dict[Target, Any] = {Target.SOURCE: vm, Target.DESTINATION: Qemu()}
        return Actions(plan, vms, notify, log)

    return make


def noted(log, name):
    return [plain(record) for record in log.records if record.name == name]


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


async def test_action_whose_moment_does_not_come_is_recorded_as_not_done(carry_out, log):
    vm = Qemu()
    plan = [Kill(when=when, target=Target.SOURCE) for when in (NEVER, NOW)]
    async with carry_out(vm, *plan):
        log(now())
        await until_idle()
    assert vm.kills == 1
    assert noted(log, "actions") == [{"done": [False, True]}]


async def test_samples_of_memory_are_a_clock_that_an_action_may_wait_for(carry_out, log):
    sampled = Record.of(1, Side.SOURCE, Memory(hwm_kib=1))
    late = When(kind="process", name="memory", count=2)
    async with carry_out(Qemu(), Kill(when=NEVER, target=Target.SOURCE)) as actions:
        assert not actions.counts_time
    async with carry_out(Qemu(), Kill(when=late, target=Target.SOURCE)) as actions:
        assert actions.counts_time
        log(sampled)
        assert actions.counts_time
        log(sampled)
        assert not actions.counts_time


async def test_faults_are_notified(carry_out, log):
    heard = []
    plan = Tell(when=NOW, name="go", value=3)
    async with carry_out(Qemu(), plan, notify=lambda *told: heard.append(told)):
        log(now())
        await until_idle()
    assert heard == [("go", 3)]


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (None, {"how": "done"}),
        (QmpError("x", "GenericError", "no"), {"how": "refused", "class": "GenericError",
                                               "desc": "no"}),
        (QmpTimeout("late"), {"how": "unanswered"}),
        (LostVM("gone"), {"how": "lost"}),
    ],
)  # fmt: skip
async def test_what_came_of_a_command_is_recorded(carry_out, log, error, result):
    plain = Execute(when=NOW, target=Target.SOURCE, command="migrate_cancel")
    async with carry_out(Qemu(error), plain):
        log(now())
        await until_idle()
    assert noted(log, "action_ended") == [{"position": 0, **result}]
    assert noted(log, "actions") == [{"done": [result["how"] in ("done", "unanswered")]}]


async def test_kill_of_a_qemu_that_is_gone_kills_nothing(carry_out, log):
    vm = Qemu()
    vm.is_running = False
    async with carry_out(vm, Kill(when=NOW, target=Target.SOURCE)):
        log(now())
        await until_idle()
    assert noted(log, "action_ended") == [{"position": 0, "how": "lost"}]


async def test_notification_without_a_relay_reaches_no_fault(carry_out, log):
    async with carry_out(Qemu(), Tell(when=NOW, name="go"), notify=None):
        log(now())
        await until_idle()
    assert noted(log, "action_ended") == [{"position": 0, "how": "lost"}]


async def test_storm_names_the_commands_that_are_always_refused_and_goes_on(carry_out, log):
    vm = Qemu()
    vm.refuses = {"query-nothing": QmpError("query-nothing", "CommandNotFound", "not found")}
    storm = Storm(when=NOW, target=Target.SOURCE, commands=("query-nothing", "query-status"))
    async with asyncio.timeout(DEADLINE_S):
        async with carry_out(vm, storm):
            log(now())
            await vm.has_enough.wait()
    (ended,) = noted(log, "action_ended")
    assert ended["refused"] == {"query-nothing": "CommandNotFound: not found"}
    assert ended["sent"] == len(vm.executed)


async def test_storm_into_a_dead_qemu_sends_nothing(carry_out, log):
    vm = Qemu()
    vm.is_running = False
    async with carry_out(vm, Storm(when=NOW, target=Target.SOURCE)):
        log(now())
        await until_idle()
    assert noted(log, "action_ended") == [{"position": 0, "how": "done", "sent": 0, "refused": {}}]


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


async def test_suspend_writes_the_registers_of_the_sources_machine(carry_out, log):
    vm = Talking()
    async with carry_out(vm, Suspend(when=NOW)):
        log(now())
        await until_idle()
    assert vm.lines[-1] == "o/h 0x604 0x2400"
    assert noted(log, "actions") == [{"done": [True]}]
