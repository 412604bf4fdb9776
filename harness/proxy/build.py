"""From a fault plan to the chain that carries it out."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from harness.errors import UsageError
from harness.proxy.chain import Chain
from harness.proxy.faults.base import Fault
from harness.proxy.faults.close_channel import CloseChannel
from harness.proxy.faults.cut_stream import CutStream
from harness.proxy.faults.delay import Delay
from harness.proxy.faults.drop import Drop
from harness.proxy.faults.duplicate import Duplicate
from harness.proxy.faults.extend import Extend
from harness.proxy.faults.flip import Flip
from harness.proxy.faults.hello import Hello
from harness.proxy.faults.hold import Hold
from harness.proxy.faults.hold_connections import HoldConnections
from harness.proxy.faults.inject import Inject
from harness.proxy.faults.move_to_channel import MoveToChannel
from harness.proxy.faults.pace import Pace
from harness.proxy.faults.rechunk import Rechunk
from harness.proxy.faults.reorder import Reorder
from harness.proxy.faults.rewrite import Rewrite
from harness.proxy.faults.stall_main import StallMain
from harness.proxy.faults.truncate import Truncate
from harness.scenario import fault_plan as plan

FAULTS: dict[type[Any], type[Fault[Any]]] = {
    plan.CloseChannel: CloseChannel,
    plan.CutStream: CutStream,
    plan.Delay: Delay,
    plan.Drop: Drop,
    plan.Duplicate: Duplicate,
    plan.Extend: Extend,
    plan.Flip: Flip,
    plan.Hello: Hello,
    plan.Hold: Hold,
    plan.HoldConnections: HoldConnections,
    plan.Inject: Inject,
    plan.MoveToChannel: MoveToChannel,
    plan.Pace: Pace,
    plan.Rechunk: Rechunk,
    plan.Reorder: Reorder,
    plan.Rewrite: Rewrite,
    plan.StallMain: StallMain,
    plan.Truncate: Truncate,
}
"""What carries out which fault of a plan."""


def build(
    faults: Sequence[plan.Fault], seed: int, idstrs: Mapping[str, str] | None = None
) -> Chain:
    """The chain for the plan ``faults``; the same plan and seed do the same again.

    :param idstrs: id of each of the scenario's devices -> its idstr, so that a plan can
        name a device by its id
    :raise UsageError: a fault names a device that there is none of
    """
    return Chain(
        [
            FAULTS[type(fault)](_named(fault, idstrs or {}), random.Random(f"{seed}/{number}"))
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
