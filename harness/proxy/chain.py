"""The **chain**: faults one behind the other; what one delivers arrives at the next."""

import importlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from harness.errors import UsageError
from harness.proxy.events import (
    After,
    Arrived,
    Command,
    Deliver,
    Due,
    End,
    Ended,
    Event,
    Greet,
    Greeted,
    Note,
    Notified,
    Opened,
    Refused,
    Waiting,
)
from harness.proxy.faults.base import Fault
from harness.scenario import fault_plan as plan


@dataclass(frozen=True, slots=True)
class Fired:
    """How often a fault of the plan has changed anything."""

    fault: str
    """Its description."""
    times: int
    keeps_back: bool = False
    """Whether it keeps back something whose moment has not come."""


class Chain:
    """Takes events to the faults, and their commands to the executor.

    Only packets and hellos go from fault to fault; every other command goes straight to the
    executor.  The end of a multifd channel waits at a fault that holds anything, because
    that could not be delivered behind the end.
    """

    def __init__(self, faults: Sequence[Fault[Any]] = ()) -> None:
        self._faults = tuple(faults)
        self._orders = [0] * len(self._faults)
        self._ends: list[list[Ended]] = [[] for _ in self._faults]
        self._tokens: list[tuple[int, int]] = []  # the relay's token -> whose, and its own

    @property
    def is_empty(self) -> bool:
        """Whether there is no fault."""
        return not self._faults

    @property
    def is_full(self) -> bool:
        """Whether no more packets should be read until some delay is over."""
        return any(fault.is_full for fault in self._faults)

    @property
    def is_holding(self) -> bool:
        """Whether something will still be delivered."""
        return any(fault.is_holding for fault in self._faults)

    @property
    def lets_in(self) -> int | None:
        """How many connections of the source may be accepted in all; None if any number."""
        return min((f.lets_in for f in self._faults if f.lets_in is not None), default=None)

    @property
    def refusals(self) -> dict[int, plan.Refusal]:
        """Numbers of the connections of the source that are refused, from 0, and how."""
        return dict(fault.refuses for fault in self._faults if fault.refuses is not None)

    @property
    def fired(self) -> list[Fired]:
        """One for each fault, in order."""
        return [Fired(f.spec.describe(), f.fired, f.keeps_back) for f in self._faults]

    def name_of(self, position: int) -> str:
        """The kind of the fault at ``position``."""
        return str(self._faults[position].spec.__struct_config__.tag)

    def handle(self, event: Event) -> Iterator[Command]:
        """What is to be done; each command is carried out before the next is generated."""
        match event:
            case Due():
                stage, token = self._tokens[event.token]
                yield from self._at(stage, Due(token))
            case Opened() | Notified() | Waiting() | Refused():
                for stage in range(len(self._faults)):
                    yield from self._at(stage, event)
            case _:
                yield from self._at(0, event)

    def _at(self, stage: int, event: Event) -> Iterator[Command]:
        if stage == len(self._faults):
            if isinstance(event, Arrived):
                yield Deliver(event.channel, event.packet)
            elif isinstance(event, Greeted):
                yield Greet(event.channel, event.hello)
            elif isinstance(event, Ended):
                yield End(event.channel)
            return
        fault = self._faults[stage]
        if isinstance(event, Arrived):
            event = replace(event, order=self._orders[stage])
            self._orders[stage] += 1
        for command in fault.handle(event):
            match command:
                case Deliver():
                    yield from self._at(stage + 1, Arrived(command.channel, command.packet))
                case Greet():
                    yield from self._at(stage + 1, Greeted(command.channel, command.hello))
                case After():
                    self._tokens.append((stage, command.token))
                    yield After(command.delay_s, len(self._tokens) - 1)
                case Note():
                    yield replace(command, position=stage)
                case _:
                    yield command
        if isinstance(event, Ended):
            self._ends[stage].append(event)
        if not fault.is_holding:
            ends, self._ends[stage] = self._ends[stage], []
            for end in ends:
                yield from self._at(stage + 1, end)


def handler_of(kind: type[plan.Fault]) -> type[Fault[Any]]:
    """The class that carries out faults of ``kind``: its namesake in the file of its tag."""
    module = importlib.import_module(f"harness.proxy.faults.{kind.__struct_config__.tag}")
    handler: type[Fault[Any]] = getattr(module, kind.__name__)
    return handler


def build(
    faults: Sequence[plan.Fault], seed: int, idstrs: Mapping[str, str] | None = None
) -> Chain:
    """The chain for the plan ``faults``; the same plan and seed act the same.

    :param idstrs: id of each of the scenario's devices -> its idstr, so that a plan can
        name a device by its id
    :raise UsageError: a fault names a device that does not exist
    """
    return Chain(
        [
            handler_of(type(fault))(_named(fault, idstrs or {}), random.Random(f"{seed}/{number}"))
            for number, fault in enumerate(faults)
        ]
    )


def _named(fault: plan.Fault, idstrs: Mapping[str, str]) -> plan.Fault:
    device = fault.select.device
    if not device or device in idstrs.values() or (not idstrs and "/" in device):
        return fault
    if device not in idstrs:
        known = ", ".join(idstrs) or "none"
        raise UsageError(f"{fault.describe()}: no device {device}; there is {known}")
    select = msgspec.structs.replace(fault.select, device=idstrs[device])
    return msgspec.structs.replace(fault, select=select)
