"""Devices of several kinds in one QEMU: their order, their slots, their end."""

import subprocess
import sys
from typing import Any

import pytest

from harness.devices.attachments import Attachments, class_of
from harness.devices.emulated import EmulatedDevices
from harness.devices.ledger import Ledger
from harness.devices.mdev import MdevDevices
from harness.devices.pci import PciDevices
from harness.errors import HarnessError, PrerequisiteMissing, UsageError
from harness.history import Side
from harness.scenario import KINDS, Abilities, EmulatedDevice, MdevDevice, PciDevice
from harness.supervisor.spawn import Spawn
from tests.unit.devices.mdev_sysfs import FakeKernel
from tests.unit.devices.pci_sysfs import CARD, OTHER_CARD, FakePci


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A kernel with four serial ports."""
    kernel = FakeKernel(tmp_path)
    ledger = Ledger("mdev", tmp_path / "run")

    def make(specs, target):
        return MdevDevices(specs, target, kernel.bus, ledger, "6.12.0")

    monkeypatch.setattr("harness.devices.mdev.MdevDevices", make)
    return kernel


@pytest.fixture
def attach(kernel):
    made = []

    def attach(*specs):
        made.append(Attachments(Side.SOURCE, specs, lambda _record: None))
        return made[-1]

    yield attach
    for devices in made:
        devices.close()


def emulated(name):
    return EmulatedDevice(id=name, size=100, bar_size=4096)


def mdev(name):
    return MdevDevice(id=name)


def test_options_are_in_the_scenarios_order_each_with_its_own_slot(attach):
    names, values = zip(*_pairs(attach(mdev("a"), emulated("b"), mdev("c"), emulated("d"))),
                        strict=True)  # fmt: skip
    assert names == ("-object", *["-device"] * 4)
    for name, slot, value in zip("abcd", (2, 3, 4, 5), values[1:], strict=True):
        assert value.startswith(f"vfio-pci,id={name},addr={slot:#x},")
    assert ["sysfsdev=" in value for value in values[1:]] == [True, False, True, False]


def _pairs(devices):
    options = devices.options()
    return zip(options[::2], options[1::2], strict=True)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_a_class_that_attaches_it(kind):
    assert class_of(kind).__name__ == f"{kind.__name__}s"


def test_devices_that_only_a_launcher_each_of_their_own_can_serve_are_refused(monkeypatch, attach):
    monkeypatch.setattr(MdevDevices, "launch", Spawn.start)
    with pytest.raises(UsageError, match="two kinds"):
        attach(emulated("a"), mdev("b"))


def test_no_devices_need_no_options(attach):
    assert attach().options() == []


def test_only_emulated_devices_need_an_iommufd_of_the_harness(attach):
    assert "-object" not in attach(mdev("a")).options()


def test_trace_names_are_those_of_all(attach):
    devices = attach(emulated("a"), mdev("b"))
    assert set(devices.trace_names().values()) == {"a", "b"}
    assert {"a", "b"} <= set(devices.trace_names())


FILTERED = "import re; print(re.search(r'Seccomp:\\s+2', open('/proc/self/status').read()))"


@pytest.mark.parametrize(("spec", "is_filtered"), [(emulated("a"), True), (mdev("a"), False)])
def test_qemu_is_under_the_filter_only_where_it_must_be(attach, spec, is_filtered):
    argv = [sys.executable, "-c", FILTERED]
    process = attach(spec).launch(Spawn(argv=argv, stdout=subprocess.PIPE))
    said, _ = process.communicate()
    assert (b"match=" in said) is is_filtered


def test_all_are_gone_in_the_end(attach, kernel):
    devices = attach(emulated("a"), mdev("b"), mdev("c"))
    assert len(kernel.uuids) == 2
    devices.close()
    devices.close()
    assert not kernel.uuids


def test_one_that_cannot_be_had_leaves_none_of_another_kind(kernel, monkeypatch):
    closed = []
    close = EmulatedDevices.close

    def closing(self):
        closed.append(self)
        close(self)

    monkeypatch.setattr(EmulatedDevices, "close", closing)
    with pytest.raises(
        PrerequisiteMissing, match=r"^e: mdev type mtty-1 of mtty has no instance left"
    ):
        Attachments(Side.SOURCE, [emulated("x"), *map(mdev, "abcde")], lambda _record: None)
    assert not kernel.uuids
    assert len(closed) == 1


def test_one_that_is_left_behind_does_not_keep_those_of_another_kind(attach, kernel):
    devices = attach(emulated("a"), mdev("b"))
    (uuid,) = kernel.uuids
    kernel.error_on_remove = 16
    with pytest.raises(HarnessError, match=uuid):
        devices.close()
    assert devices.kinds[0].devices[0].regions.fd == -1


@pytest.fixture
def pci(tmp_path, monkeypatch):
    """A kernel with PCI functions that do not migrate; what it was asked with."""
    kernel: Any = FakePci(tmp_path / "pci")
    kernel.asked_with = []
    able = Abilities(stop_copy=False, p2p=False, pre_copy=False, dma_logging=False)

    def make(specs, target):
        kernel.asked_with.append((target.ram_bytes, target.taken))
        return PciDevices(
            specs, target, kernel.bus, Ledger("pci", tmp_path / "run"), lambda *_: able
        )

    monkeypatch.setattr("harness.devices.pci.PciDevices", make)
    return kernel


def test_pci_functions_have_their_slots_and_are_given_back(kernel, attach, pci):
    nic = PciDevice(id="b", source=CARD, destination=OTHER_CARD)
    devices = attach(mdev("a"), nic)
    mtty, card = (value for _, value in _pairs(devices))
    assert "id=a,addr=0x2," in mtty
    assert card.startswith("vfio-pci,id=b,addr=0x3,")
    assert f"host={CARD}" in card
    assert devices.addresses == [CARD]
    devices.close()
    assert pci.state(CARD) == ("nic", "(null)")
    assert not kernel.uuids


def test_pci_functions_need_the_guests_ram_and_not_what_the_other_qemu_has(pci):
    nic = PciDevice(id="b", source=CARD, destination=OTHER_CARD)
    devices = Attachments(
        Side.DESTINATION, [nic], lambda _record: None, ram_mib=3, taken=[OTHER_CARD]
    )
    assert pci.asked_with == [(3 << 20, [OTHER_CARD])]
    assert devices.addresses == [CARD]
    devices.close()


def test_side_without_a_function_gets_no_option(pci):
    devices = Attachments(Side.DESTINATION, [PciDevice(id="b", source=CARD)], lambda _record: None)
    assert devices.options() == []


def test_pci_function_that_is_not_there_takes_the_mdev_devices_along(kernel, pci):
    with pytest.raises(PrerequisiteMissing, match="no PCI device"):
        Attachments(
            Side.SOURCE, [mdev("a"), PciDevice(id="b", source="0000:77:00.0")], lambda _record: None
        )
    assert not kernel.uuids
