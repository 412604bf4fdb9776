"""The devices of one side as QEMU options, and their life."""

import os

import pytest

from harness.devices.emulated import EmulatedDevices
from harness.devices.of_kind import Target
from harness.devices.vfio_pci import slot_of
from harness.history import Side
from harness.history.device import NotCompared, Received
from harness.scenario import DataPath, EmulatedDevice, OnOffAuto
from harness.vfio.state_bytes import StateBytes, Stopped
from harness.vfio.transfer import Loading, Saving


def spec(name="vfio0", **settings):
    return EmulatedDevice(**{"id": name, "size": 100, "bar_size": 4096, **settings})


@pytest.fixture
def records():
    return []


@pytest.fixture
def attach(records):
    """Makes the devices of one side."""
    made = []

    def make(*specs, side=Side.SOURCE, among=()):
        made.append(EmulatedDevices(specs, Target(side, among or specs, records.append)))
        return made[-1]

    yield make
    for devices in made:
        devices.close()


def parsed(option):
    """Properties of an option as QEMU reads them: two commas are one, one ends a value."""
    driver, *pairs = (part.replace("\0", ",") for part in option.replace(",,", "\0").split(","))
    found = dict(pair.split("=", 1) for pair in pairs)
    assert len(found) == len(pairs), "each is named once"
    return driver, found


def device_options(devices):
    found = []
    for name, (option, value) in devices.options().items():
        assert option == "-device"
        found.append(parsed(value))
        assert found[-1][1]["id"] == name
    return found


def test_iommufd_and_devices_come_as_descriptors(attach):
    devices = attach(spec("a"), spec("b"))
    assert devices.objects() == [
        "-object",
        f"iommufd,id=iommufd0,fd={devices.supervisor.iommufd.fd}",
    ]
    for (driver, found), device in zip(device_options(devices), devices.devices, strict=True):
        assert driver == "vfio-pci"
        assert found["iommufd"] == "iommufd0"
        assert found["fd"] == str(device.fd)
        assert os.fstat(device.fd)
    assert len({device.fd for device in devices.devices}) == 2


def test_properties_are_those_of_the_settings(attach):
    ((_, found),) = device_options(
        attach(spec("nic", enable_migration=OnOffAuto.AUTO, multifd_transfer=OnOffAuto.OFF))
    )
    assert found["id"] == "nic"
    assert found["enable-migration"] == "auto"
    assert found["x-migration-multifd-transfer"] == "off"
    assert found["migration-events"] == "on"


def test_transfer_that_is_not_set_is_left_to_qemu(attach):
    ((_, found),) = device_options(attach(spec(multifd_transfer=None)))
    assert "x-migration-multifd-transfer" not in found


def test_more_properties_are_added_and_have_the_last_word(attach):
    more = {"x-no-mmap": True, "x-req": False, "bootindex": 7, "migration-events": "off"}
    ((_, found),) = device_options(attach(spec(properties=more)))
    assert found["x-no-mmap"] == "on"
    assert found["x-req"] == "off"
    assert found["bootindex"] == "7"
    assert found["migration-events"] == "off"


@pytest.mark.parametrize("value", ["a,b", ",", "a,,b", "end,", "x=1,fd=3"])
def test_comma_in_a_value_stays_in_the_value(attach, value):
    devices = attach(spec(properties={"vf-token": value, "bootindex": 1}))
    ((_, found),) = device_options(devices)
    assert found["vf-token"] == value
    assert found["bootindex"] == "1"
    assert found["fd"] == str(devices.devices[0].fd)


def test_slot_is_the_same_on_both_sides_and_each_devices_own(attach):
    specs = [spec(f"d{n}") for n in range(12)]
    slots = []
    for side in (Side.SOURCE, Side.DESTINATION):
        found = device_options(attach(*specs, side=side))
        slots.append([int(properties["addr"], 16) for _, properties in found])
    assert slots[0] == slots[1] == [slot_of(index) for index in range(12)]
    assert slots[0] == list(range(2, 14)), "0, 1 and 31 belong to the machine"


def test_slots_are_those_among_all_devices(attach):
    names = ["b", "x", "a"]
    found = device_options(attach(spec("a"), spec("b"), among=list(map(spec, names))))
    assert [properties["addr"] for _, properties in found] == ["0x4", "0x2"]


def test_trace_names_lead_to_the_devices(attach):
    devices = attach(spec("a"), spec("b"))
    first, second = (device.fd for device in devices.devices)
    names = {f"VFIO_FD{first}": "a", f"VFIO_FD{second}": "b"}
    assert devices.trace_names() == names
    devices.close()
    assert devices.trace_names() == names, "the trace is read afterwards"


def test_all_devices_are_served_by_the_supervisor_of_their_side(attach):
    devices = attach(spec("a"), spec("b"), side=Side.DESTINATION)
    assert devices.supervisor.devices == devices.devices
    assert devices.supervisor.side is Side.DESTINATION
    assert [device.spec.id for device in devices.devices] == ["a", "b"]


def state(seed):
    return StateBytes(seed, 100)


def test_each_destination_device_expects_the_state_of_its_own_source(attach):
    source = attach(spec("a", seed=1), spec("b", seed=2))
    destination = attach(spec("a", seed=1), spec("b", seed=2), side=Side.DESTINATION)
    destination.expect_from(source)
    expected = [device.function.expected for device in destination.devices]
    assert [one() for one in expected] == [None, None], "nothing was held out yet"
    for device in source.devices:
        device.function.saving = Saving(device.spec, state(device.spec.seed))
    assert [one().seed for one in expected] == [1, 2]
    again = Saving(spec(), state(9))
    source.devices[0].function.saving = again
    assert expected[0]() is again.state, "the latest"


def test_device_that_only_one_side_has_expects_nothing(attach):
    """The destination of a scenario may be given other devices."""
    source = attach(spec("a", seed=1), spec("b", seed=2))
    destination = attach(spec("b", seed=5), spec("c"), side=Side.DESTINATION)
    destination.expect_from(source)
    for device in source.devices:
        device.function.saving = Saving(device.spec, state(device.spec.seed))
    ours, alone = (device.function.expected() for device in destination.devices)
    assert ours.seed == 2, "that of its own id"
    assert alone is None


def test_where_the_source_is_a_capture_the_state_from_the_start_is_expected(attach):
    specs = spec("a", seed=1), spec("b", seed=2, size=7)
    source, destination = attach(*specs), attach(*specs, side=Side.DESTINATION)
    source.fill_contents()
    destination.expect_generated()
    expected = [device.function.expected() for device in destination.devices]
    assert [state.total for state in expected] == [100, 7]
    for state, device in zip(expected, source.devices, strict=True):
        assert state.digest() == device.function.whole_state().digest()
    assert expected[0].digest() != expected[1].digest()


def test_states_are_made_ahead(attach, monkeypatch):
    devices = attach(spec("a", size=3), spec("b", size=5))
    devices.prepare()
    monkeypatch.setattr("harness.supervisor.attached.StateBytes", None)  # makes no more
    sizes = []
    for device in devices.devices:
        fd, _ = device.open_data_fd(is_saving=True)
        sizes.append(os.fstat(fd).st_size)
    assert sizes == [3, 5]


def test_configuration_is_recorded_for_each_device(attach, records):
    devices = attach(spec("a"), spec("b"))
    devices.devices[1].regions.write((7 << 40) + 4, b"\x06\x00")
    devices.observe_config()
    assert [(r.name, r.device, r.args.command) for r in records] == [
        ("config", "a", 0),
        ("config", "b", 6),
    ]


def test_report_is_of_what_was_transferred(attach, records):
    devices = attach(spec("a"), spec("b"), spec("c"))
    saving, loading, _ = devices.devices
    saving.function.saving = Saving(saving.spec, state(1))
    loading.function.loading = Loading(loading.spec, lambda: state(1))
    loading.function.loading.commit(state(1).chunk(0, 99))
    devices.report()
    assert [(r.name, r.device, r.args.bytes) for r in records] == [
        ("sent", "a", 100),
        ("received", "b", 99),
    ]


def test_nothing_stays_open(records):
    specs = [spec("a"), spec("b")]
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    devices = EmulatedDevices(specs, Target(Side.SOURCE, specs, records.append))
    devices.prepare()
    devices.close()
    devices.close()
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_what_was_stopped_is_recorded_as_not_compared_and_the_rest_is(attach, records):
    def stop():
        raise Stopped("it took too long")

    devices = attach(spec("a"))
    function = devices.devices[0].function
    function.saving = Saving(function.spec, StateBytes(1, 1 << 40))
    function.loading = Loading(function.spec, lambda: None)
    devices.report(stop)
    found = [record.args for record in records]
    assert NotCompared(what="sent", why="it took too long") in found
    assert any(isinstance(args, Received) for args in found), "it needs no bytes to be made"


def test_generating_ahead_is_stopped_and_leaves_no_memory(attach):
    calls = 0

    def stop_soon():
        nonlocal calls
        calls += 1
        if calls > 3:
            raise Stopped("it took too long")

    devices = attach(spec("a", size=1 << 40, data_path=DataPath.MEMFD))
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pytest.raises(Stopped):
        devices.prepare(stop_soon)
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_each_device_behaves_as_the_one_of_its_id(attach):
    devices = attach(spec("a"), spec("b"))
    devices.behave([spec("b", size=200), spec("c")])
    assert [device.spec.size for device in devices.devices] == [100, 200]
