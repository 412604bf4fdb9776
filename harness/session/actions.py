"""What a scenario does to its QEMUs while they migrate."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping
from typing import Self

from harness.action_plan import Action, ActionPlan, Execute, Kill, Storm, Target, Tell
from harness.errors import VMError
from harness.session.log import Log, Watch
from harness.vm.vm import Vm

AT_ONCE = 6
"""Commands of a storm on their way at a time: QEMU's monitor stops reading at 8."""


class Actions:
    """Inside ``async with`` each action waits for its moment.  Leaving it ends storms and
    waits for commands that were sent; an action whose moment has not come is not done.
    Which were done is recorded.

    :param tell: tells the faults of an outside event
    """

    def __init__(
        self,
        plan: ActionPlan,
        vms: Mapping[Target, Vm],
        tell: Callable[[str, int], None],
        log: Log,
    ) -> None:
        self._plan = plan
        self._vms = vms
        self._tell = tell
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

    async def __aexit__(self, *_error: object) -> None:
        self._is_over = True  # no more storms
        for watch, task in self._tasks:
            if not watch.is_reached:
                task.cancel()
        # Without the block's own error, which is no affair of the group's and goes on as it is.
        await self._group.__aexit__(None, None, None)
        if self._plan:
            self._log.note("actions", {"done": self._done})

    async def _carry_out(self, position: int, action: Action, watch: Watch) -> None:
        await watch.wait()
        self._done[position] = True
        self._log.note("action", {"action": action.describe(), "position": position})
        # What a QEMU refuses, or does not answer, is in the records.
        with contextlib.suppress(VMError):
            match action:
                case Execute():
                    monitor = self._vms[action.target].monitor
                    await monitor.execute(action.command, action.arguments)
                case Kill():
                    self._vms[action.target].kill()
                case Tell():
                    self._tell(action.name, action.value)
                case Storm():
                    await self._storm(action)

    async def _storm(self, action: Storm) -> None:
        vm = self._vms[action.target]
        names = itertools.cycle(action.commands)

        async def one_after_another() -> None:
            with contextlib.suppress(VMError):
                while not self._is_over and vm.is_running:
                    await vm.monitor.execute(next(names))

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(one_after_another())
