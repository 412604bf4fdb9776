"""What every fault has: selection, and delivering what it has nothing to do with."""

import random

import pytest

from harness.proxy.events import Due, Ended, Note, Notified, Opened
from harness.proxy.faults.base import Fault
from harness.scenario import fault_plan as plan
from harness.scenario.fault_plan import Select
from tests.unit.proxy.playbook import Playbook, arrived, config, deliver, packet

EVERY = Select()


def _fault(select: Select = EVERY) -> Fault:
    return Fault(plan.Drop(select=select), random.Random(0))


def test_a_fault_that_overrides_nothing_delivers_everything() -> None:
    book = Playbook(_fault())
    book >> Opened(0) >> arrived(0) << deliver(0)
    book >> Notified("x") >> Due(1) >> arrived(config(1), 0) << deliver(config(1), 0)
    book >> Ended(0)
    book.ends()


@pytest.mark.parametrize(
    ("select", "selected"),
    [
        (Select(), {"0 of 2 on 0", "1 of 2 on 1", "1 of 3 on 0", "config of 2 on 1"}),
        (Select(idx=(1,)), {"1 of 2 on 1", "1 of 3 on 0"}),
        (Select(idx=(0, 2)), {"0 of 2 on 0", "config of 2 on 1"}),
        (Select(config=True), {"config of 2 on 1"}),
        (Select(config=False), {"0 of 2 on 0", "1 of 2 on 1", "1 of 3 on 0"}),
        (Select(channel=0), {"0 of 2 on 0", "1 of 3 on 0"}),
        (Select(device="0000:00:03.0/vfio"), {"1 of 3 on 0"}),
        (Select(device="0000:00:02.0/vfio", idx=(1,), channel=1), {"1 of 2 on 1"}),
        (Select(device="vfio9"), set()),
    ],
    ids=lambda value: value.describe() if isinstance(value, Select) else "",
)
def test_selection(select: Select, selected: set[str]) -> None:
    packets = {
        "0 of 2 on 0": arrived(packet(0), 0),
        "1 of 2 on 1": arrived(packet(1), 1),
        "1 of 3 on 0": arrived(packet(1, slot=3), 0),
        "config of 2 on 1": arrived(config(2), 1),
    }
    fault = _fault(select)
    assert {name for name, event in packets.items() if fault.selects(event)} == selected


def test_a_note_counts_as_fired() -> None:
    fault = _fault()
    assert fault.fired == 0
    assert fault.note("done", 1, packet(3)) == Note("done", 1, packet(3))
    assert fault.fired == 1


def test_open_channels_are_known_and_main_is_not_one_of_them() -> None:
    fault = _fault()
    for event in (Opened(-1), Opened(0), Opened(2), Ended(0)):
        list(fault.handle(event))
    assert fault.channels == {2}
