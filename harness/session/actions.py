"""What a scenario does to its QEMUs while they migrate."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping
from typing import Final, Self

from harness.errors import LostVM, QmpError, QmpTimeout, VMError
from harness.history import session
from harness.history.process import Memory
from harness.scenario.action_plan import (
    Action,
    ActionPlan,
    Execute,
    Kill,
    Storm,
    Suspend,
    Target,
    Tell,
)
from harness.session.log import Log, Watch
from harness.vm import acpi
from harness.vm.vm import Vm

AT_ONCE = 6
"""Commands of a storm on their way at a time: QEMU's monitor stops reading at 8."""
DONE: Final = "done"
REFUSED: Final = "refused"
UNANSWERED: Final = "unanswered"
LOST: Final = "lost"
"""What came of an action (``how`` of the record ``action_ended``): QEMU has accepted it; has
refused it; has not answered; was not there, or ended before it answered."""


class Actions:
    """Inside ``async with`` each action waits for its moment.  When it is left, storms end and
    commands that were sent are waited for; an action whose moment has not come is not done.
    Which actions were done is recorded.

    :param machine: the machine type of the source
    :param notify: notifies the faults of an outside event; None if there are no faults
    """

    def __init__(
        self,
        plan: ActionPlan,
        vms: Mapping[Target, Vm],
        notify: Callable[[str, int], None] | None,
        log: Log,
        machine: str = "q35",
    ) -> None:
        self._machine = machine
        self._plan = plan
        self._vms = vms
        self._notify = notify
        self._log = log
        self._done = [False] * len(plan)
        self._tasks: list[tuple[Watch, asyncio.Task[None]]] = []
        self._is_over = False

    async def __aenter__(self) -> Self:
        self._group = await asyncio.TaskGroup().__aenter__()
        for position, action in enumerate(self._plan):
            watch = self._log.watch(action.when)
            task = self._group.create_task(self._carry_out(position, action, watch))
            self._tasks.append((watch, task))
        return self

    @property
    def counts_time(self) -> bool:
        """Whether one waits for samples of memory, which come as time passes."""
        return any(
            action.when.name == Memory.NAME and not watch.is_reached
            for action, (watch, _) in zip(self._plan, self._tasks, strict=False)
        )

    async def __aexit__(self, *_error: object) -> None:
        self._is_over = True  # no more storms
        for watch, task in self._tasks:
            if not watch.is_reached:
                task.cancel()
        # Without the block's own error, which goes on as it is and is not of the group's tasks.
        await self._group.__aexit__(None, None, None)
        if self._plan:
            self._log.record(session.Actions(self._done))

    async def _carry_out(self, position: int, action: Action, watch: Watch) -> None:
        await watch.wait()
        self._log.record(session.Action(action.describe(), position))
        ended = await self._result(position, action)
        self._done[position] = ended.how in (DONE, UNANSWERED)
        self._log.record(ended)

    async def _result(self, position: int, action: Action) -> session.ActionEnded:
        """Do it; what came of it."""
        try:
            match action:
                case Execute():
                    monitor = self._vms[action.target].monitor
                    await monitor.execute(action.command, action.arguments)
                case Kill():
                    is_there = self._vms[action.target].kill()
                    return session.ActionEnded(position, DONE if is_there else LOST)
                case Suspend():
                    await acpi.suspend(self._vms[Target.SOURCE].monitor, self._machine)
                case Tell():
                    if self._notify is None:
                        return session.ActionEnded(position, LOST)
                    self._notify(action.name, action.value)
                case Storm():
                    return await self._storm(position, action)
        except QmpError as error:
            return session.ActionEnded(position, REFUSED, error.error_class, error.desc)
        except QmpTimeout:
            return session.ActionEnded(position, UNANSWERED)
        except LostVM:
            return session.ActionEnded(position, LOST)
        return session.ActionEnded(position, DONE)

    async def _storm(self, position: int, action: Storm) -> session.ActionEnded:
        """Send commands until all is over."""
        vm = self._vms[action.target]
        names = itertools.cycle(action.commands)
        sent = 0
        taken: set[str] = set()
        refused: dict[str, str] = {}

        async def one_after_another() -> None:
            nonlocal sent
            with contextlib.suppress(VMError):
                while not self._is_over and vm.is_running:
                    name = next(names)
                    sent += 1
                    try:
                        await vm.monitor.execute(name)
                        taken.add(name)
                    except QmpError as error:
                        refused[name] = f"{error.error_class}: {error.desc}"

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(one_after_another())
        never_taken = {name: why for name, why in refused.items() if name not in taken}
        return session.ActionEnded(position, DONE, sent=sent, refused=never_taken)
