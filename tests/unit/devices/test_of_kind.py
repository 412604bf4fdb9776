"""What a kind of device need not have."""

import pytest

from harness.devices import attachments
from harness.devices.attachments import Attachments
from harness.devices.of_kind import DevicesOfKind, Target
from harness.history import Side
from harness.scenario import MdevDevice, PciDevice
from harness.supervisor.spawn import Spawn

SPECS = [MdevDevice(id="a"), MdevDevice(id="b")]


class Least(DevicesOfKind):
    """As little as a kind may have."""

    def __init__(self, specs, target):
        self.specs, self.target, self.is_closed = specs, target, False

    def options(self):
        return {spec.id: ["-device", f"x,addr={self.target.slot(spec)}"] for spec in self.specs}

    def trace_names(self):
        return {f"name of {spec.id}": spec.id for spec in self.specs}

    def close(self):
        self.is_closed = True


@pytest.fixture
def devices(monkeypatch):
    monkeypatch.setattr(attachments, "class_of", lambda _kind: Least)
    return Attachments(Side.SOURCE, SPECS, lambda _record: None)


def test_least_kind_can_be_attached(devices):
    assert devices.options() == ["-device", "x,addr=2", "-device", "x,addr=3"]
    assert devices.trace_names() == {"name of a": "a", "name of b": "b", "a": "a", "b": "b"}
    assert devices.launch is Spawn.start
    assert (devices.failure, devices.addresses) == (None, [])
    assert not attachments.is_missing_here(SPECS[0])
    devices.close()
    assert devices.kinds[0].is_closed


def test_what_it_does_not_do_is_no_error(devices):
    devices.fill_contents()
    devices.expect_from(devices)
    devices.expect_generated()
    devices.prepare()
    devices.observe_config()
    devices.report()
    with devices.paused():
        pass


@pytest.mark.parametrize("name", ["options", "trace_names", "close"])
def test_less_is_refused(name):
    half = type("Half", (Least,), {name: getattr(DevicesOfKind, name)})
    with pytest.raises(TypeError, match=name):
        half(SPECS, Target(Side.SOURCE, SPECS, lambda _record: None))


@pytest.mark.parametrize(
    ("side", "taken", "address"),
    [
        (Side.SOURCE, (), "0000:3b:00.2"),
        (Side.DESTINATION, ("0000:3b:00.2",), "0000:3b:00.3"),
        (Side.DESTINATION, ("0000:3b:00.3",), "0000:3b:00.2"),
    ],
    ids=["source", "destination", "migration back"],
)
def test_each_side_gets_its_address(side, taken, address):
    spec = PciDevice(id="a", source="3b:00.2", destination="3b:00.3")
    assert Target(side, [spec], lambda _record: None, taken=taken).address(spec) == address


def test_destination_may_get_none():
    spec = PciDevice(id="a", source="3b:00.2")
    assert Target(Side.DESTINATION, [spec], lambda _record: None).address(spec) == ""
