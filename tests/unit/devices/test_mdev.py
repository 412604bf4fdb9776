"""mdev devices of one side: their options and names, and that none is left."""

import errno
import uuid

import pytest

from harness.devices.ledger import Ledger
from harness.devices.mdev import MdevDevices, remove_abandoned
from harness.devices.of_kind import Target
from harness.errors import HarnessError, PrerequisiteMissing
from harness.history import Kind, Side
from harness.scenario import MdevDevice, OnOffAuto
from tests.unit.devices.mdev_sysfs import FakeKernel


def spec(name, kind="mtty-1", **fields):
    return MdevDevice(id=name, type=kind, **fields)


RELEASE = "6.12.0"  # whatever the machine has


@pytest.fixture
def kernel(tmp_path):
    return FakeKernel(tmp_path)


@pytest.fixture
def ledger(tmp_path):
    return Ledger("mdev", tmp_path / "run")


@pytest.fixture
def records():
    return []


def target(specs):
    return Target(Side.SOURCE, specs, lambda _record: None)


@pytest.fixture
def attach(kernel, ledger, records):
    def attach(*specs, side=Side.SOURCE, among=()):
        target = Target(side, among or specs, records.append)
        return MdevDevices(specs, target, kernel.bus, ledger, RELEASE)

    return attach


def properties(devices):
    """Those of each ``-device vfio-pci``."""
    assert devices.objects() == []
    found = []
    for name, (option, value) in devices.options().items():
        assert option == "-device"
        found.append(dict(pair.split("=") for pair in value.split(",")[1:]))
        assert found[-1]["id"] == name
    return found


def test_options_name_each_device_by_its_folder(attach, kernel):
    devices = attach(spec("a"), spec("b", "mtty-2"))
    assert properties(devices) == [
        {
            "id": name,
            "sysfsdev": str(kernel.devices / uuid_),
            "addr": addr,
            "enable-migration": "on",
            "migration-events": "on",
            "x-device-dirty-page-tracking": "off",
            "x-migration-multifd-transfer": "on",
        }
        for name, uuid_, addr in zip("ab", devices.uuids, ("0x2", "0x3"), strict=True)
    ]


def test_properties_of_the_scenario_come_last(attach):
    one = spec(
        "a",
        multifd_transfer=None,
        enable_migration=OnOffAuto.AUTO,
        properties={"x-device-dirty-page-tracking": True, "x-no-mmap": True},
    )
    (found,) = properties(attach(one))
    assert "x-migration-multifd-transfer" not in found
    assert found["enable-migration"] == "auto"
    assert found["x-device-dirty-page-tracking"] == found["x-no-mmap"] == "on"


def test_slots_are_those_among_all_devices(attach):
    found = properties(attach(spec("a"), spec("b"), among=[spec(name) for name in "xayb"]))
    assert [each["addr"] for each in found] == ["0x3", "0x5"]


def test_trace_names_are_uuids(attach):
    devices = attach(spec("a"), spec("b"))
    first, second = devices.uuids
    names = {first: "a", second: "b"}
    assert devices.trace_names() == names
    devices.close()
    assert devices.trace_names() == names, "the trace is read afterwards"


def test_each_device_is_recorded(attach, records):
    devices = attach(spec("a", "mtty-2"), side=Side.DESTINATION)
    (record,) = records
    assert (record.side, record.kind, record.name) == (Side.DESTINATION, Kind.DEVICE, "created")
    assert record.device == "a"
    assert record.args.uuid == devices.uuids[0]
    assert (record.args.type, record.args.parent) == ("mtty-2", "mtty")


def test_close_removes_them_and_nothing_else(attach, kernel, ledger, tmp_path):
    other = str(uuid.uuid4())
    kernel.bus.create(kernel.bus.find("mtty-1"), other)
    devices = attach(spec("a"), spec("b"))
    assert kernel.uuids == {other, *devices.uuids}
    devices.close()
    devices.close()
    assert kernel.uuids == {other}
    assert not list((tmp_path / "run" / "mdev").iterdir())


def test_full_type_names_the_device_and_leaves_none(attach, kernel, tmp_path):
    with pytest.raises(
        PrerequisiteMissing, match=r"^c: mdev type mtty-2 of mtty has no instance left"
    ):
        attach(*(spec(name, "mtty-2") for name in "abc"))
    assert not kernel.uuids
    assert not list((tmp_path / "run" / "mdev").iterdir())


def test_one_that_cannot_be_removed_does_not_keep_the_others(attach, kernel, tmp_path):
    devices = attach(spec("a"), spec("b"))
    first, second = devices.uuids
    kernel.error_on_remove = errno.EBUSY
    kernel.bus.device(second).joinpath("iommu_group").unlink()
    kernel.bus.device(second).rmdir()  # as another process would
    with pytest.raises(HarnessError, match=first):
        devices.close()
    assert [path.stem for path in (tmp_path / "run" / "mdev").iterdir()] == [first]


def test_what_a_killed_run_left_is_removed_and_what_a_living_one_has_is_not(
    attach, kernel, ledger, monkeypatch
):
    devices = attach(spec("a"), spec("b"))
    first, second = devices.uuids
    monkeypatch.setattr(ledger, "abandoned", lambda: [first])
    attach()
    assert kernel.uuids == {second}


def test_abandoned_claim_of_a_device_that_was_never_made_is_struck_out(
    kernel, ledger, tmp_path, monkeypatch
):
    ledger.claim("x")
    monkeypatch.setattr("harness.devices.ledger._start_ticks", lambda _pid: 0)
    assert remove_abandoned(kernel.bus, ledger) == ["x"]
    assert not list((tmp_path / "run" / "mdev").iterdir())


@pytest.mark.parametrize("release", ["6.6.13-amd64", "5.10.0", "6.1.0-49-amd64"])
def test_mtty_of_a_kernel_without_its_migration_is_one_line(kernel, ledger, release):
    specs = [spec("a")]
    with pytest.raises(PrerequisiteMissing) as raised:
        MdevDevices(specs, target(specs), kernel.bus, ledger, release=release)
    first = "Linux 6.7 or newer can"
    assert str(raised.value) == f"a: mtty-1 of Linux {release} cannot migrate: {first}"
    assert not kernel.uuids


@pytest.mark.parametrize(
    ("release", "fields"),
    [("6.7.0", {}), ("6.12.94-amd64", {}), ("7.0", {}), ("6.1", {"enable_migration": "off"})],
)
def test_other_kernels_are_not_asked_about(kernel, ledger, release, fields):
    fields = {name: OnOffAuto(value) for name, value in fields.items()}
    specs = [spec("a", **fields)]
    devices = MdevDevices(specs, target(specs), kernel.bus, ledger, release=release)
    assert kernel.uuids
    devices.close()
