import pytest

from harness.scenario import MIB, EmulatedDevice, LoadBehaviour, MdevDevice, SaveBehaviour, Scenario
from harness.scenario.delays import delays, delays_s, holds_s
from harness.scenario.fault_plan import Delay, Duplicate, Hold, StallMain, Until


@pytest.mark.parametrize(
    ("sizes", "size", "calls"),
    [
        ((), 4 * MIB, 4),  # QEMU asks for 1 MiB at a time
        ((), 4 * MIB + 1, 5),
        ((MIB // 2,), 4 * MIB, 8),
        ((MIB, MIB // 2), 3 * MIB, 4),
        ((4 * MIB,), 4 * MIB, 4),  # more than is asked for is never given
    ],
)
def test_number_of_calls_times_the_delay(sizes, size, calls):
    save = SaveBehaviour(read_sizes=sizes, read_delay_s=0.5)
    device = EmulatedDevice(id="a", size=size, save=save)
    assert next(delays(device)) == ("read", calls, 0.5)
    assert delays_s(Scenario(name="x", devices=(device,))) == calls * 0.5


def test_slower_side_of_the_slowest_device_counts():
    slow = EmulatedDevice(id="a", size=2 * MIB, load=LoadBehaviour(write_delay_s=1.0))
    fast = EmulatedDevice(id="b", size=2 * MIB, save=SaveBehaviour(read_delay_s=0.25))
    assert delays_s(Scenario(name="x", devices=(fast, slow))) == 2.0


def test_device_of_the_kernel_has_none_that_is_known():
    assert delays_s(Scenario(name="x", devices=(MdevDevice(id="a"),))) == 0.0


@pytest.mark.parametrize(
    ("faults", "seconds"),
    [
        ((), 0.0),
        ((Duplicate(),), 0.0),
        ((Hold(until=Until(others=True)),), 0.0),
        ((Hold(until=Until(delay_s=0.5)), StallMain(until=Until(delay_s=4.0))), 4.0),
        ((Delay(delay_s=2.0), Hold(until=Until(delay_s=0.5))), 2.0),
    ],
)
def test_longest_hold_of_a_fault(faults, seconds):
    assert holds_s(Scenario(name="x", faults=faults)) == seconds
