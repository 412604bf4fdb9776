"""Fields of a multifd channel's hello are set."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from harness.proxy.events import Command, Greet, Greeted
from harness.proxy.faults.base import Fault
from harness.scenario import fault_plan as plan
from harness.wire.packets import MultiFDInit


class Hello(Fault[plan.Hello]):
    """Sets them once for each channel that the spec selects."""

    def greeted(self, event: Greeted) -> Iterator[Command]:
        hello = event.hello
        if self.spec.select.channel in (None, event.channel):
            hello = self._rewritten(hello)
        if hello != event.hello:
            yield self.note(self.spec.describe(), event.channel)
        yield Greet(event.channel, hello)

    def _rewritten(self, hello: MultiFDInit) -> MultiFDInit:
        spec = self.spec
        changes: dict[str, Any] = {
            name: value
            for name in ("magic", "version", "channel_id")
            if (value := getattr(spec, name)) is not None
        }
        if spec.uuid is not None:
            changes["uuid"] = spec.uuid.bytes
        return replace(hello, **changes)
