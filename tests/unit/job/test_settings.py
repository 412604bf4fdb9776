"""Which scenarios a job runs, and what the command line changes in them."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.errors import PrerequisiteMissing, UsageError
from harness.job.settings import Settings, applied, scenarios, with_builds
from harness.scenario import (
    MIB,
    EmulatedDevice,
    MdevDevice,
    Scenario,
    main_job,
    to_json,
)
from harness.scenario.fault_plan import Drop, Hold, Select, Until
from harness.scenario.guest_plan import Guest
from harness.vm.builds import Probe
from tests.unit.check.histories import FACTS

THREE = Scenario(
    name="three", devices=tuple(EmulatedDevice(id=f"d{n}", size=n * MIB, seed=n) for n in (1, 2, 3))
)


@pytest.fixture
def saved(tmp_path):
    def save_scenario(scenario: Scenario, name: str = "scenario.json") -> Path:
        path = tmp_path / name
        path.write_bytes(to_json(scenario))
        return path

    return save_scenario


# -- which scenarios ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "settings", "who"),
    [
        ({"qemu": "/gone"}, Settings(), r"the scenario's QEMU \(another: --qemu\)"),
        ({"qemu_dst": "/gone"}, Settings(), r"the scenario's QEMU \(another: --qemu-dst\)"),
        ({"qemu": "/there"}, Settings(qemu="/gone"), "--qemu"),
        ({"qemu_dst": "/there"}, Settings(qemu_dst="/gone"), "--qemu-dst"),
    ],
)
def test_who_named_a_qemu_that_is_not_there_is_said(build, fields, settings, who):
    wanted = Scenario(name="x", **{"qemu": str(build()), **fields})
    with pytest.raises(PrerequisiteMissing, match=f"^{who}: /gone: no such QEMU$"):
        with_builds(wanted, settings)


def test_without_a_scenario_it_is_the_main_job(build):
    found = scenarios([], Settings(qemu=str(build())))
    assert [each.name for each in found] == [each.name for each in main_job.SCENARIOS]


@pytest.mark.usefixtures("machines")
@pytest.mark.parametrize(("source", "destination"), [("10.1.0", "11.1.0"), ("11.1.0", "10.0.3")])
def test_main_job_is_that_of_the_older_build(build, source, destination):
    settings = Settings(qemu=str(build(source)), qemu_dst=str(build(destination)))
    names = {each.name for each in scenarios([], settings)}
    assert ("queue-limit" in names) == ("10.0.3" not in (source, destination))


def test_without_a_scenario_but_with_a_shape_it_is_one_plain_scenario(build):
    settings = Settings(qemu=str(build()), channels=8, devices=2, size=5)
    (found,) = scenarios([], settings)
    assert found.channels == 8
    assert [(device.id, device.size) for device in list[Any](found.devices)] == [
        ("vfio0", 5),
        ("vfio1", 5),
    ]


def test_scenario_names_the_qemu_that_will_run_so_that_it_can_be_repeated(build, saved):
    binary = build()
    (found,) = scenarios([saved(THREE)], Settings(qemu=str(binary.parent)))
    assert found.qemu == found.qemu_dst == str(binary)


def test_run_directory_is_taken_for_its_scenario(build, saved, tmp_path):
    saved(THREE)
    (found,) = scenarios([tmp_path], Settings(qemu=str(build())))
    assert found.devices == THREE.devices


def test_one_bad_scenario_keeps_all_from_being_run(build, saved, tmp_path):
    with pytest.raises(UsageError, match=r"gone\.json"):
        scenarios([saved(THREE), tmp_path / "gone.json"], Settings(qemu=str(build())))


@pytest.mark.parametrize("fields", [{"devices": ()}, {"seed": -1}, {"trace": ("vfo_*",)}])
def test_what_is_wrong_with_a_scenario_names_its_file(build, saved, fields):
    binary = build()
    (binary.parent / "trace" / "trace-events-all").write_text('vfio_load(void) "x"\n')
    wrong = saved(msgspec.structs.replace(THREE, **fields), "wrong.json")
    with pytest.raises(UsageError) as refused:
        scenarios([saved(msgspec.structs.replace(THREE, trace=())), wrong],
                      Settings(qemu=str(binary)))  # fmt: skip
    assert str(refused.value).startswith(f"{wrong}: three: {next(iter(fields))}")


def test_many_devices_are_refused_before_they_are_made():
    with pytest.raises(UsageError, match="--devices is 1000000000000, not 1 to 29"):
        applied(THREE, Settings(devices=10**12))


def test_qemu_without_trace_events_is_fine_where_nothing_is_traced(build, saved):
    binary = build()
    (binary.parent / "trace" / "trace-events-all").unlink()
    settings = Settings(qemu=str(binary))
    untraced = msgspec.structs.replace(THREE, trace=())
    assert scenarios([saved(untraced)], settings)
    with pytest.raises(PrerequisiteMissing, match="trace-events-all"):
        scenarios([saved(THREE)], settings)


# -- settings ----------------------------------------------------------------------------


def test_settings_that_were_not_given_change_nothing():
    assert applied(THREE, Settings()) == THREE


def test_given_settings_go_before_the_scenarios():
    found = applied(THREE, Settings(channels=7, size=9, seed=40))
    assert found.channels == 7
    assert found.seed == 40
    assert [device.size for device in list[Any](found.devices)] == [9, 9, 9]
    assert [device.seed for device in list[Any](found.devices)] == [40, 41, 42]


def test_fewer_devices_are_the_first_of_them():
    found = applied(THREE, Settings(devices=2))
    assert found.devices == THREE.devices[:2]


def test_more_devices_are_copies_of_the_last_with_states_of_their_own():
    found = applied(THREE, Settings(devices=5))
    assert found.devices[:3] == THREE.devices
    assert [device.size for device in list[Any](found.devices[3:])] == [3 * MIB] * 2
    assert len({device.id for device in found.devices}) == 5
    assert len({device.seed for device in list[Any](found.devices)}) == 5


MDEV = Scenario(name="mdev", devices=(MdevDevice(id="vfio0", type="mtty-2"),))


def test_more_devices_of_the_kernel_are_of_the_same_type():
    found = applied(MDEV, Settings(devices=2, seed=3))
    assert [(device.id, device.type) for device in list[Any](found.devices)] == [
        ("vfio0", "mtty-2"),
        ("vfio1", "mtty-2"),
    ]


def test_devices_of_the_command_line_go_before_the_scenarios(build):
    settings = Settings(qemu=str(build()), kinds=(MdevDevice(id="vfio0"),), devices=3)
    (found,) = scenarios([], settings)
    assert [device.type for device in list[Any](found.devices)] == ["mtty-1"] * 3
    assert found.relay, "nobody else sees what they give"
    assert applied(THREE, Settings(kinds=MDEV.devices)).devices == MDEV.devices


def test_emulated_devices_of_the_command_line_need_no_relay(build):
    settings = Settings(qemu=str(build()), kinds=(EmulatedDevice(id="vfio0"),))
    (found,) = scenarios([], settings)
    assert not found.relay
    assert len(found.devices) == 1


def test_size_is_for_emulated_devices():
    with pytest.raises(UsageError, match="vfio0: --size is for emulated devices"):
        applied(MDEV, Settings(size=5))


@pytest.mark.parametrize(
    "settings",
    [
        Settings(channels=0),
        Settings(channels=256),
        Settings(devices=-1),
        Settings(devices=0),
        Settings(devices=30),
        Settings(size=1 << 63),
        Settings(size=(1 << 40) + 1),
        Settings(seed=-1),
        Settings(seed=1 << 63),
        Settings(faults=(Drop(select=Select(channel=4)),)),
    ],
)
def test_setting_that_no_scenario_can_have_is_a_usage_error(settings):
    with pytest.raises(UsageError, match="three: "):
        applied(THREE, settings)


# -- builds ------------------------------------------------------------------------------


@pytest.fixture
def machines(monkeypatch):
    """All builds know these machine types."""
    known = ("pc-q35-9.2", "pc-q35-10.0", "pc-i440fx-10.0")
    probe = Probe(FACTS, known, has_log_backend=True)
    monkeypatch.setattr("harness.vm.builds.probe_now", lambda _binary: probe)


@pytest.mark.usefixtures("machines")
def test_builds_that_differ_get_the_newest_machine_that_both_know(build):
    old, new = build("10.0.3"), build("11.1.0")
    for source, destination in ((old, new), (new, old)):
        settings = Settings(qemu=str(source), qemu_dst=str(destination))
        assert with_builds(THREE, settings).machine == "pc-q35-10.0"
    pc = msgspec.structs.replace(THREE, machine="pc")
    assert with_builds(pc, settings).machine == "pc-i440fx-10.0"


def test_machine_that_was_named_is_kept(build):
    settings = Settings(qemu=str(build("10.0.3")), qemu_dst=str(build("11.1.0")))
    named = msgspec.structs.replace(THREE, machine="pc-q35-9.2")
    assert with_builds(named, settings).machine == "pc-q35-9.2"


def test_one_build_keeps_the_machine_alias(build):
    assert with_builds(THREE, Settings(qemu=str(build()))).machine == "q35"


@pytest.mark.usefixtures("machines")
def test_second_migration_goes_to_the_first_ones_destination(build):
    old, new = str(build("10.0.3")), str(build("11.1.0"))
    then = msgspec.structs.replace(THREE, name="then")
    both = msgspec.structs.replace(THREE, qemu=old, qemu_dst=new, then=(then,))
    found = with_builds(both, Settings())
    assert (found.qemu, found.qemu_dst) == (old, new)
    assert (found.then[0].qemu, found.then[0].qemu_dst) == (new, new)
    assert found.machine == found.then[0].machine == "pc-q35-10.0", "one guest has one machine"
    one = msgspec.structs.replace(THREE, qemu=new, then=(then,))
    found = with_builds(one, Settings())
    assert (found.then[0].qemu, found.then[0].qemu_dst) == (new, new), "not the machine's own build"
    own = msgspec.structs.replace(one, then=(msgspec.structs.replace(then, qemu=old),))
    found = with_builds(own, Settings())
    (named,) = found.then
    assert (named.qemu, named.qemu_dst) == (old, old), "a build that it names is kept"


@pytest.mark.usefixtures("machines")
def test_main_job_of_two_versions_goes_both_ways(build):
    old, new = build("10.0.3"), build("11.1.0")
    pairs = {
        each.name: (each.qemu, each.qemu_dst)
        for each in scenarios([], Settings(qemu=str(old), qemu_dst=str(new)))
    }
    assert pairs.pop("two-devices") == (str(old), str(new))
    for each in main_job.TURNED:
        assert pairs.pop(each.name) == (str(new), str(old))


def test_main_job_of_two_builds_of_one_version_goes_one_way(build, tmp_path, machines):
    one = build("10.0.3")
    other = shutil.copytree(one.parent, tmp_path / "other") / one.name
    names = {each.name for each in scenarios([], Settings(qemu=str(one), qemu_dst=str(other)))}
    assert not names & {each.name for each in main_job.TURNED}


@pytest.mark.usefixtures("machines")
def test_given_source_goes_for_the_destination_too(build):
    old, new = build("10.0.3"), build("11.1.0")
    named = msgspec.structs.replace(THREE, qemu=str(old), qemu_dst=str(old))
    assert with_builds(named, Settings(qemu=str(new))).qemu_dst == str(new)
    assert with_builds(named, Settings(qemu_dst=str(new))).qemu == str(old)


def test_faults_of_the_command_line_are_the_scenarios():
    found = (Drop(), Hold(until=Until(packets=2)))
    assert applied(Scenario(name="a"), Settings(faults=found)).faults == found


def test_second_migration_has_the_settings_of_the_first(build):
    binary = build("10.0.3")
    wanted = Scenario(name="a", then=(Scenario(name="b"),))
    found = with_builds(applied(wanted, Settings(size=5)), Settings(qemu=str(binary)))
    (then,) = found.then
    assert then.devices == found.devices
    assert then.qemu == str(binary)


def test_guest_gets_the_memory_that_it_needs():
    found = applied(THREE, Settings(guest=True))
    assert found.guest == Guest()
    assert found.ram_mib == 192
    with_more = applied(found, Settings(guest=True, channels=2))
    assert (with_more.guest, with_more.ram_mib) == (found.guest, 192)
    assert Settings(guest=True).has_shape


def test_guest_besides_an_mdev_device_is_no_linux_and_needs_no_more_memory():
    settings = Settings(guest=True, kinds=(MdevDevice(id="vfio0"),))
    found = applied(THREE, settings)
    assert not found.has_linux
    assert found.ram_mib == THREE.ram_mib


def test_arguments_of_the_command_line_follow_those_of_the_scenario():
    wanted = msgspec.structs.replace(THREE, qemu_args=("-device", "edu"))
    found = applied(wanted, Settings(qemu_args=("-device", "virtio-rng-pci")))
    assert found.qemu_args == ("-device", "edu", "-device", "virtio-rng-pci")
    assert applied(wanted, Settings()).qemu_args == wanted.qemu_args
    assert Settings(qemu_args=("-device", "edu")).has_shape
