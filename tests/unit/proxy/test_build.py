"""From a plan to its chain."""

import importlib
import typing

import pytest

from harness.errors import UsageError
from harness.proxy.build import FAULTS, build
from harness.proxy.events import Deliver
from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Order, Select
from tests.unit.proxy.playbook import arrived, config, packet


@pytest.mark.parametrize("spec", typing.get_args(plan.Fault), ids=lambda spec: spec.__name__)
def test_each_fault_of_a_plan_has_a_file_of_its_name(spec: type) -> None:
    module = importlib.import_module(f"harness.proxy.faults.{spec.__struct_config__.tag}")
    assert FAULTS[spec] is getattr(module, spec.__name__)


def _shuffled(seed: int, position: int = 0) -> list[int | None]:
    faults = [plan.Drop(select=Select(idx=(99,)))] * position + [plan.Reorder(order=Order.SHUFFLED)]
    chain = build(faults, seed)
    commands = [
        command
        for order in range(30)
        for command in chain.handle(arrived(config(29) if order == 29 else packet(order)))
    ]
    return [command.packet.idx for command in commands if isinstance(command, Deliver)]


def test_the_seed_decides() -> None:
    assert _shuffled(1) == _shuffled(1)
    assert _shuffled(1) != _shuffled(2)
    assert _shuffled(1) != _shuffled(1, position=1), "each fault has a generator of its own"


IDSTRS = {"vfio0": "0000:00:02.0/vfio", "vfio1": "0000:00:03.0/vfio"}


@pytest.mark.parametrize("name", ["vfio1", "0000:00:03.0/vfio"])
def test_devices_are_named_by_id_or_idstr(name: str) -> None:
    chain = build([plan.Drop(select=Select(device=name))], 0, IDSTRS)
    for event in (arrived(0), arrived(packet(0, slot=3))):
        list(chain.handle(event))
    assert [fired.times for fired in chain.fired] == [1]


@pytest.mark.parametrize("idstrs", [IDSTRS, None])
def test_device_that_there_is_not_is_refused(idstrs: dict[str, str] | None) -> None:
    with pytest.raises(UsageError, match="drop every packet of vfio9: no device vfio9"):
        build([plan.Drop(select=Select(device="vfio9"))], 0, idstrs)
