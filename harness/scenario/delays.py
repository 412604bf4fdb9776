"""How long a scenario's emulated devices and faults delay the migration."""

from collections.abc import Iterable, Iterator

from harness.scenario.device_spec import MIB
from harness.scenario.devices import EmulatedDevice
from harness.scenario.fault_plan import Delay
from harness.scenario.scenario import Scenario


def delays_s(scenario: Scenario) -> float:
    """Seconds that a device of ``scenario`` needs for all of its state, on one side: what a
    deadline must allow.
    """
    needs = [calls * delay for device in scenario.emulated for _, calls, delay in delays(device)]
    return max(needs, default=0.0)


def holds_s(scenario: Scenario) -> float:
    """Seconds for which a fault of ``scenario`` holds something back: the longest."""
    given = [
        0.0 if (until := getattr(fault, "until", None)) is None else until.delay_s
        for fault in scenario.faults
    ]
    delays = [fault.delay_s for fault in scenario.faults if isinstance(fault, Delay)]
    return max([*given, *delays], default=0.0)


def delays(device: EmulatedDevice) -> Iterator[tuple[str, int, float]]:
    """Read or write, how many of them there are at least, and the delay of each in seconds."""
    ask = min(MIB, device.reported_size or MIB)
    for what, sizes, delay_s in (
        ("read", device.save.read_sizes, device.save.read_delay_s),
        ("write", device.load.write_sizes, device.load.write_delay_s),
    ):
        yield what, _least_calls(device.total_size, sizes, ask), delay_s


def _least_calls(total: int, sizes: Iterable[int], ask: int) -> int:
    """Fewest calls that move ``total`` bytes, ``ask`` at a time, each of ``sizes`` in turn."""
    each = [min(size, ask) for size in sizes] or [ask]
    rounds, left = divmod(total, sum(each))
    calls = rounds * len(each)
    for size in each:
        if left <= 0:
            break
        left -= size
        calls += 1
    return calls
