"""What a scenario itself shows to be wrong is said before a QEMU is started, with the field.

Each check could be wrong in two directions: it may refuse what QEMU can do, or let pass what
would blame a QEMU for the scenario.  So each has cases on both sides.
"""

import math

import msgspec
import pytest

from harness.check.deviations import Deviation
from harness.errors import UsageError
from harness.job import findings, scenario_checks
from harness.job.known import known_deviations
from harness.scenario import (
    MIB,
    DataPath,
    EmulatedDevice,
    LoadBehaviour,
    MdevDevice,
    OnOffAuto,
    SaveBehaviour,
    Scenario,
    Tls,
    TlsMismatch,
    Transport,
    main_job,
)
from harness.scenario import fault_plan as f
from harness.scenario.action_plan import Execute, Kill, Suspend, Target, Tell, When
from harness.scenario.fault_plan import Fields, Select, Until

SUPERVISED = EmulatedDevice(id="vfio0", data_path=DataPath.SUPERVISED)


def problems(**fields: object) -> list[str]:
    return list(scenario_checks.problems(Scenario(name="x", **fields)))  # type: ignore[arg-type]


def of_device(**fields: object) -> list[str]:
    device = EmulatedDevice(**{"id": "vfio0", **fields})  # type: ignore[arg-type]
    return problems(devices=(device,))


def kill(**fields: object) -> Kill:
    return Kill(target=Target.SOURCE, when=When(**fields))  # type: ignore[arg-type]


# -- what is right passes ------------------------------------------------------------------


@pytest.mark.parametrize(
    "each", [*main_job.SCENARIOS, *main_job.FROM_10_1, *main_job.TURNED], ids=lambda s: s.name
)
def test_main_job_is_right(each):
    assert not list(scenario_checks.problems(each))


@pytest.mark.parametrize("known", known_deviations(), ids=lambda d: d.name)
def test_findings_are_right(known: Deviation):
    assert not list(scenario_checks.problems(findings.scenario_of(known)))


def test_all_that_is_wrong_is_in_one_line():
    wrong = Scenario(name="x", devices=(), seed=-1, then=(Scenario(name="y", devices=()),))
    with pytest.raises(UsageError) as refused:
        scenario_checks.require(wrong)
    assert str(refused.value) == (
        "x: devices has 0, not 1 to 29; seed is -1, not 0 to 9223372036854775807; "
        "then[0]: devices has 0, not 1 to 29"
    )


def test_what_is_right_is_not_refused():
    scenario_checks.require(Scenario(name="x"))


# -- numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"size": 1 << 63}, "devices[0].size"),
        ({"bar_size": 1 << 40}, "devices[0].bar_size"),
        ({"reported_size": -1}, "devices[0].reported_size"),
        ({"save": SaveBehaviour(read_delay_s=3601)}, "devices[0].save.read_delay_s"),
        ({"save": SaveBehaviour(read_sizes=(1 << 40,))}, "devices[0].save.read_sizes[0]"),
        ({"load": LoadBehaviour(write_delay_s=math.inf)}, "devices[0].load.write_delay_s"),
        ({"load": LoadBehaviour(lie_at=-1)}, "devices[0].load.lie_at"),
        ({"seed": -1}, "devices[0].seed"),
        ({"seed": 1 << 63}, "devices[0].seed"),
    ],
)
def test_number_of_a_device_that_was_made_in_python(fields, field):
    (found,) = of_device(**fields)
    assert found.startswith(f"{field} is ")


@pytest.mark.parametrize("seed", [0, (1 << 63) - 1])
def test_seed_at_its_ends(seed):
    assert not of_device(seed=seed)
    assert not problems(seed=seed)


@pytest.mark.parametrize(("count", "is_right"), [(0, False), (1, True), (29, True), (30, False)])
def test_devices_have_a_slot_each(count, is_right):
    devices = tuple(EmulatedDevice(id=f"d{n}") for n in range(count))
    assert (not problems(devices=devices)) is is_right


# -- devices -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "vfio0", "A-b_c.9"])
def test_id_that_qemu_takes(name):
    assert not of_device(id=name)
    assert not problems(devices=(MdevDevice(id=name),))


@pytest.mark.parametrize("name", ["", "0a", "_a", "a b", "a,b", "a/b", "ä", "a\n", "-a"])
def test_id_that_qemu_does_not_take(name):
    for device in (EmulatedDevice(id=name), MdevDevice(id=name)):
        (found,) = problems(devices=(device,))
        assert found.startswith(f"devices[0].id is {name!r}: ")


@pytest.mark.parametrize(
    "name", ["id", "addr", "bus", "fd", "iommufd", "host", "sysfsdev", "migration-events"]
)
def test_property_that_the_harness_sets(name):
    (found,) = of_device(properties={name: "x"})
    assert found == f"devices[0].properties.{name} is 'x': the harness sets it"


@pytest.mark.parametrize("name", ["x-no-mmap", "bootindex", "x-migration-load-config-after-iter"])
def test_property_that_is_the_users(name):
    assert not of_device(properties={name: "on"})


TRANSFER = "x-migration-multifd-transfer"


@pytest.mark.parametrize(
    ("fields", "is_right"),
    [
        ({"properties": {TRANSFER: "off"}}, False),
        ({"properties": {TRANSFER: False}}, False),
        ({"properties": {TRANSFER: "on"}}, True),
        ({"properties": {TRANSFER: True}}, True),
        ({"properties": {TRANSFER: "yes"}}, True),
        ({"properties": {TRANSFER: "off"}, "multifd_transfer": None}, True),
        ({"properties": {TRANSFER: "off"}, "multifd_transfer": OnOffAuto.OFF}, True),
        ({"properties": {"enable-migration": "off"}}, False),
        ({"properties": {"enable-migration": "on"}}, True),
    ],
)
def test_property_and_field_say_the_same(fields, is_right):
    assert (not of_device(**fields)) is is_right


# -- settings ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"capabilities": {"events": False}}, "capabilities.events is false: no event"),
        ({"capabilities": {"multifd": False}}, "capabilities.multifd is false: multifd is true"),
        ({"capabilities": {"multifd": True}, "multifd": False}, "capabilities.multifd is true"),
        ({"capabilities": {"return-path": False}}, "capabilities.return-path is false"),
        ({"parameters": {"multifd-channels": 8}}, "parameters.multifd-channels is 8 and channels"),
        ({"parameters": {"multifd-channels": "4"}}, "parameters.multifd-channels is '4'"),
        ({"parameters": {"tls-creds": "x"}}, "parameters.tls-creds is 'x': the harness sets it"),
        ({"parameters": {"tls-hostname": "x"}}, "parameters.tls-hostname is 'x'"),
        ({"transport": Transport.FILE}, "return_path is true and transport is 'file'"),
        ({"memory_limit_mib": 100}, "memory_limit_mib is 100: with RAM and state of its devices"),
    ],
)
def test_setting_that_contradicts_another(fields, words):
    (found,) = problems(**fields)
    assert found.startswith(words)


@pytest.mark.parametrize(
    "fields",
    [
        {"capabilities": {"events": True, "multifd": True, "return-path": True}},
        {"capabilities": {"multifd": False}, "multifd": False},
        {"capabilities": {"postcopy-ram": True, "x-ignore-shared": False}},
        {"parameters": {"multifd-channels": 4, "max-bandwidth": 1, "downtime-limit": 0}},
        {"transport": Transport.FILE, "return_path": False},
        {"return_path": False},
        {"memory_limit_mib": 0},
        {"memory_limit_mib": 256},
    ],
)
def test_setting_that_contradicts_nothing(fields):
    assert not problems(**fields)


# -- faults and actions --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (f.Drop(select=Select(channel=4)), "faults[0].select.channel is 4, but channels is 4"),
        (f.MoveToChannel(channel=4), "faults[0].channel is 4, but channels is 4"),
        (f.Inject(channel=200), "faults[0].channel is 200"),
        (f.Duplicate(channel=4), "faults[0].channel is 4"),
        (f.Hello(select=Select(channel=4), magic=1), "faults[0].select.channel is 4"),
        (f.Drop(select=Select(idx=(1 << 32,))), "faults[0].select.idx[0] is 4294967296"),
        (f.Drop(select=Select(device="vfi0")),
         "faults[0].select.device is 'vfi0': no device of the scenario; did you mean vfio0?"),
        (f.Hold(until=Until(told="switchovr")),
         "faults[0].until.told is 'switchovr': nothing reports it; did you mean switchover?"),
        (f.Hold(until=Until(told="queued")), "faults[0].until.told is 'queued'"),
        (f.StallMain(until=Until(delay_s=1), since="openned"),
         "faults[0].since is 'openned': nothing reports it; did you mean opened?"),
        (f.HoldConnections(until=Until(told="go")), "faults[0].until.told is 'go'"),
    ],
)  # fmt: skip
def test_fault_that_can_never_do_anything(fault, words):
    (found,) = problems(faults=(fault,))
    assert found.startswith(words)


@pytest.mark.parametrize(
    "fault",
    [
        f.Drop(select=Select(channel=3)),
        f.MoveToChannel(channel=3),
        f.Hello(channel_id=255),
        f.Drop(select=Select(device="vfio0", idx=(0xFFFFFFFF,))),
        f.Drop(select=Select(device="0000:00:07.0/vfio")),
        f.Hold(until=Until(told="switchover")),
        f.Hold(until=Until(told="switchover_passed")),
        f.Hold(until=Until(told="loaded", value=5)),
        f.StallMain(until=Until(delay_s=1), since="opened"),
        f.StallMain(until=Until(delay_s=1), since="switchover"),
    ],
)
def test_fault_that_can_do_something(fault):
    assert not problems(devices=(SUPERVISED,), faults=(fault,))


def test_event_that_an_action_reports():
    tell = Tell(when=When(), name="go")
    assert not problems(faults=(f.Hold(until=Until(told="go")),), actions=(tell,))
    assert problems(faults=(f.Hold(until=Until(told="goo")),), actions=(tell,))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (f.Hold(until=Until(told="go", value=3)), None),
        (f.StallMain(since="go", until=Until(delay_s=1)), None),
        (
            f.Hold(until=Until(told="go", value=4)),
            "faults[0].until.value is 4: no action reports go with that much",
        ),
        (f.Drop(), "actions[0]: notify the faults of go at MIGRATION: no fault waits for it"),
    ],
)
def test_event_meets_the_fault_that_waits_for_it(fault, words):
    """Wrong if a run begins in which a tell is not heard, or a fault waits for ever."""
    found = problems(faults=(fault,), actions=(Tell(when=When(), name="go", value=3),))
    assert (words in found) if words else not found


def test_name_that_a_fault_before_has_made():
    rename = f.Rewrite(fields=Fields(idstr="nobody"))
    assert not problems(faults=(rename, f.Drop(select=Select(device="nobody"))))


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ({"kind": "qpm"}, "kind is 'qpm': unknown; did you mean qmp?"),
        ({"kind": "trace", "name": "vfio_save_block"}, "kind is 'trace': a trace is read when"),
        ({"kind": "device", "name": "wirte"},
         "name is 'wirte': no record of device; did you mean write?"),
        ({"kind": "wire", "name": "switchovr"}, "name is 'switchovr': no record of wire"),
        ({"side": "src"}, "side is 'src': unknown; did you mean source?"),
    ],
)  # fmt: skip
def test_moment_that_never_comes(when, words):
    (found,) = problems(actions=(kill(**when),))
    assert found.startswith(f"actions[0].when.{words}")


@pytest.mark.parametrize(
    "when",
    [
        {},
        {"name": "STOP", "side": "source"},
        {"kind": "device", "name": "write", "side": "destination", "count": 3},
        {"kind": "wire", "name": "switchover", "side": "harness"},
        {"kind": "process", "name": "exited"},
        {"name": "return", "args": {"command": "migrate"}},
    ],
)
def test_moment_that_may_come(when):
    assert not problems(actions=(kill(**when),))


# -- time ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "deadline_s", "needs"),
    [
        # 16 reads of 1 MiB.
        ({"save": SaveBehaviour(read_delay_s=1)}, 15, "16 s for 16 reads with read_delay_s 1"),
        ({"save": SaveBehaviour(read_delay_s=1)}, 16, ""),
        ({"load": LoadBehaviour(write_delay_s=2)}, 31, "32 s for 16 writes with write_delay_s 2"),
        ({"load": LoadBehaviour(write_delay_s=2)}, 32, ""),
        # Less at a time: 512 KiB, 1 byte, again.
        ({"size": MIB + 2, "save": SaveBehaviour(read_sizes=(MIB // 2, 1), read_delay_s=1)}, 3,
         "4 s for 4 reads"),
        ({"size": MIB + 2, "save": SaveBehaviour(read_sizes=(MIB // 2, 1), read_delay_s=1)}, 4, ""),
        # A size beyond what QEMU asks for helps nothing.
        ({"size": 4 * MIB, "save": SaveBehaviour(read_sizes=(64 * MIB,), read_delay_s=1)}, 3,
         "4 s for 4 reads"),
        # The device says that it has less, so QEMU asks for less at a time.
        ({"size": MIB, "reported_size": MIB // 4, "save": SaveBehaviour(read_delay_s=1)}, 3,
         "4 s for 4 reads"),
        ({"size": 0, "save": SaveBehaviour(read_delay_s=3600)}, 1, ""),
        # What goes in pre-copy takes its time, too.
        ({"size": MIB, "pre_copy": True, "precopy_initial_bytes": MIB,
          "save": SaveBehaviour(read_delay_s=1)}, 1, "2 s for 2 reads"),
    ],
)  # fmt: skip
def test_deadline_and_the_devices_own_delays(fields, deadline_s, needs):
    found = problems(
        devices=(EmulatedDevice(**{"id": "vfio0", **fields}),), deadline_s=float(deadline_s)
    )
    if not needs:
        assert not found
    else:
        assert found[0].startswith(f"deadline_s is {deadline_s}: vfio0 needs {needs}")


SLOW = SaveBehaviour(read_delay_s=100)
SLOW_DEVICE = EmulatedDevice(id="vfio0", save=SLOW)


@pytest.mark.parametrize(
    "fields",
    [
        {"actions": (Execute(when=When(), target=Target.SOURCE, command="migrate_cancel"),)},
        {"faults": (f.Drop(select=Select(idx=(0,))),)},
        {"tls": Tls.PSK, "tls_mismatch": TlsMismatch.KEY},
        {"devices": (msgspec.structs.replace(SLOW_DEVICE, stop_copy=False),)},
        {"devices": (msgspec.structs.replace(SLOW_DEVICE, enable_migration=OnOffAuto.OFF),)},
        {"devices": (EmulatedDevice(id="a", save=SaveBehaviour(read_delay_s=100, error_at=1)),)},
        {"devices": (SLOW_DEVICE, EmulatedDevice(id="a", load=LoadBehaviour(error_at=0)))},
        {"devices": (msgspec.structs.replace(
            SLOW_DEVICE, properties={"x-migration-max-queued-buffers-size": 1}),)},
    ],
)  # fmt: skip
def test_run_that_something_ends_before_needs_no_time(fields):
    assert problems(devices=(SLOW_DEVICE,)), "else this test shows nothing"
    assert not problems(**{"devices": (SLOW_DEVICE,), **fields})


# -- arguments -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("-incoming", "qemu_args[0] is '-incoming': the harness sets it"),
        ("--daemonize", "qemu_args[0] is '--daemonize': QEMU would leave its supervisor"),
        ("-M", "qemu_args[0] is '-M': use machine"),
        ("-m", "qemu_args[0] is '-m': use ram_mib"),
        ("-version", "qemu_args[0] is '-version': QEMU would end at once"),
    ],
)
def test_argument_that_the_harness_relies_on(word, words):
    assert problems(qemu_args=(word,)) == [words]


def test_arguments_that_are_the_users():
    assert problems(qemu_args=("-device", "d", "-smp", "2", "machine")) == []


def test_suspend_needs_a_machine_with_known_registers():
    actions = (Suspend(when=When()),)
    assert problems(actions=actions) == problems(actions=actions, machine="pc") == []
    assert problems(actions=actions, machine="x-new") == [
        "actions[0]: suspend needs the machine q35 or pc"
    ]
