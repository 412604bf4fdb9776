"""Scenarios round-trip through JSON, and what cannot be run is refused in one line."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.scenario import (
    MIB,
    DataPath,
    EmulatedDevice,
    Given,
    Lie,
    LoadBehaviour,
    MdevDevice,
    MigrationState,
    OnOffAuto,
    RefusedArc,
    SaveBehaviour,
    Scenario,
    Transport,
    WrongDataFd,
    from_json,
    load,
    to_json,
)
from harness.scenario.action_plan import Kill, Suspend, Target, When
from harness.scenario.fault_plan import (
    Drop,
    Duplicate,
    Hold,
    Select,
    Until,
)
from harness.scenario.guest_plan import LINUX_RAM_MIB, Guest

DEVICE = EmulatedDevice(id="vfio0")
FULL = Scenario(
    name="full",
    devices=(
        EmulatedDevice(
            id="a",
            size=3,
            seed=-5,
            bar_size=8192,
            stop_copy=False,
            p2p=False,
            pre_copy=True,
            precopy_initial_bytes=1,
            precopy_dirty_bytes=2,
            dma_logging=False,
            reported_size=7,
            data_path=DataPath.SUPERVISED,
            save=SaveBehaviour(read_sizes=(1, 2), read_delay_s=0.5, error_at=9),
            load=LoadBehaviour(write_sizes=(3,), write_delay_s=1.5, error_at=0),
            multifd_transfer=None,
            enable_migration=OnOffAuto.AUTO,
            properties={"x-no-mmap": True, "bootindex": 3, "host": "a,b"},
        ),
        EmulatedDevice(id="b", load=LoadBehaviour(lie=Lie.LOST_BUFFER, lie_at=2)),
    ),
    qemu="/opt/qemu",
    qemu_dst="/opt/newer",
    machine="pc-q35-10.0",
    ram_mib=16,
    multifd=False,
    channels=255,
    capabilities={"x-ignore-shared": True},
    return_path=False,
    parameters={"downtime-limit": 5, "tls-creds": "x"},
    transport=Transport.FILE,
    deadline_s=0.25,
    memory_limit_mib=12,
    trace=(),
    seed=99,
    interrupt_line=True,
)

sizes = st.lists(st.integers(1, 1 << 20), max_size=3).map(tuple)
devices = st.builds(
    EmulatedDevice,
    id=st.text(min_size=1),
    size=st.integers(0, 1 << 40),
    seed=st.integers(-(1 << 60), 1 << 60),
    bar_size=st.integers(12, 29).map(lambda n: 1 << n),
    reported_size=st.none() | st.integers(0, 1 << 40),
    save=st.builds(SaveBehaviour, read_sizes=sizes, read_delay_s=st.floats(0, 10)),
    load=st.builds(LoadBehaviour, write_sizes=sizes, lie_at=st.just(1)),
    multifd_transfer=st.none() | st.sampled_from(OnOffAuto),
    properties=st.dictionaries(st.text(), st.booleans() | st.integers(0, 9) | st.text()),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(devices, max_size=3, unique_by=lambda d: d.id).map(tuple), st.integers(1, 255))
def test_any_scenario_comes_back_from_its_json(some_devices, channels):
    scenario = Scenario(name="any", devices=some_devices, channels=channels)
    assert from_json(to_json(scenario)) == scenario


def test_every_setting_comes_back_from_json():
    assert from_json(to_json(FULL)) == FULL


SAVED = b"""{
  "name": "full",
  "devices": [
    {
      "kind": "emulated", "id": "a", "size": 3, "seed": -5, "bar_size": 8192,
      "stop_copy": false, "p2p": false, "pre_copy": true,
      "precopy_initial_bytes": 1, "precopy_dirty_bytes": 2, "dma_logging": false,
      "reported_size": 7, "data_path": "supervised",
      "save": {"read_sizes": [1, 2], "read_delay_s": 0.5, "error_at": 9},
      "load": {"write_sizes": [3], "write_delay_s": 1.5, "error_at": 0},
      "multifd_transfer": null, "enable_migration": "auto",
      "properties": {"x-no-mmap": true, "bootindex": 3, "host": "a,b"}
    },
    {"kind": "emulated", "id": "b", "load": {"lie": "lost_buffer", "lie_at": 2}}
  ],
  "qemu": "/opt/qemu", "qemu_dst": "/opt/newer", "machine": "pc-q35-10.0", "ram_mib": 16,
  "multifd": false, "channels": 255, "capabilities": {"x-ignore-shared": true},
  "return_path": false, "parameters": {"downtime-limit": 5, "tls-creds": "x"},
  "transport": "file", "deadline_s": 0.25, "memory_limit_mib": 12, "trace": [], "seed": 99,
  "interrupt_line": true
}"""


def test_saved_scenario_stays_readable():
    """A run directory is judged again years later: fields may come, none may change."""
    assert from_json(SAVED) == FULL


@pytest.mark.parametrize(
    ("enum", "words"),
    [
        (OnOffAuto, {"on", "off", "auto"}),
        (DataPath, {"auto", "memfd", "supervised"}),
        (Lie, {"wrong_byte", "lost_buffer", "swapped_buffers"}),
        (Transport, {"unix", "tcp", "file"}),
    ],
)
def test_words_of_a_saved_scenario_stay(enum, words):
    assert {member.value for member in enum} >= words


def test_plain_device_does_nothing_unusual():
    device = EmulatedDevice(id="d")
    assert (device.stop_copy, device.p2p, device.pre_copy, device.dma_logging) == (
        True,
        True,
        False,
        True,
    )
    assert device.precopy_initial_bytes == device.precopy_dirty_bytes == 0
    assert device.reported_size is None
    assert device.data_path is DataPath.AUTO
    assert device.save == SaveBehaviour(read_sizes=(), read_delay_s=0.0, error_at=None)
    assert device.load == LoadBehaviour(
        write_sizes=(), write_delay_s=0.0, error_at=None, lie=None, lie_at=0
    )
    assert device.enable_migration is OnOffAuto.ON
    assert device.properties == {}


def test_json_is_indented_and_shows_the_defaults():
    text = to_json(Scenario(name="small")).decode()
    assert text.endswith("}\n")
    assert '\n  "channels": 4' in text
    assert json.loads(text)["devices"][0]["kind"] == "emulated"


@pytest.mark.parametrize("part", [FULL, DEVICE, DEVICE.save, DEVICE.load])
def test_no_part_of_a_scenario_can_be_changed(part):
    field = msgspec.structs.fields(part)[0].name
    with pytest.raises(AttributeError):
        setattr(part, field, getattr(part, field))


def test_plain_scenario_is_one_emulated_device_over_multifd():
    scenario = Scenario(name="x")
    assert MIB == 1024 * 1024
    assert (scenario.machine, scenario.ram_mib, scenario.memory_limit_mib) == ("q35", 64, 0)
    assert (scenario.transport, scenario.return_path) == (Transport.UNIX, True)
    assert (scenario.capabilities, scenario.parameters) == ({}, {})
    assert scenario.trace == ("vfio_*", "multifd_*")
    assert scenario.deadline_s > 1
    assert scenario.seed == 0
    assert scenario.devices == (EmulatedDevice(id="vfio0", size=16 * MIB),)
    assert scenario.multifd
    assert scenario.devices[0].multifd_transfer is OnOffAuto.ON


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": ""}, "name is empty"),
        ({"devices": (DEVICE, DEVICE)}, "device ids are not unique: vfio0, vfio0"),
        ({"channels": 0}, "channels is 0, not 1 to 255"),
        ({"channels": 256}, "channels is 256, not 1 to 255"),
        ({"ram_mib": 15}, "ram_mib is 15, below 16"),
        ({"deadline_s": 0.0}, "deadline_s is 0.0, not above 0"),
        ({"devices": (EmulatedDevice(id="d", size=-1),)}, "d: size is -1, below 0"),
        (
            {"devices": (EmulatedDevice(id="d", bar_size=2048),)},
            "d: bar_size is 2048, not a power of two of at least 4096",
        ),
        (
            {"devices": (EmulatedDevice(id="d", bar_size=4096 + 4),)},
            "d: bar_size is 4100, not a power of two of at least 4096",
        ),
        (
            {"devices": (EmulatedDevice(id="d", save=SaveBehaviour(read_sizes=(1, 0))),)},
            "d: read_sizes and write_sizes must be above 0",
        ),
        (
            {"devices": (EmulatedDevice(id="d", load=LoadBehaviour(write_sizes=(0,))),)},
            "d: read_sizes and write_sizes must be above 0",
        ),
    ],
)
def test_impossible_scenario_is_refused(changes, says):
    with pytest.raises(ValueError) as refusal:
        Scenario(**{"name": "x", **changes})
    assert str(refusal.value) == says


@pytest.mark.parametrize("channels", [1, 255])
def test_fewest_and_most_channels_are_accepted(channels):
    assert Scenario(name="x", channels=channels).channels == channels


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"{", "Expecting property name"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `name`"),
        (b'{"name": "x", "chanels": 2}', "unknown field chanels; did you mean channels?"),
        (b'{"name": "x", "channels": "two"}', "Expected `int`, got `str`"),
        (b'{"name": "x", "channels": 0}', "channels is 0: Expected `int` >= 1"),
        (b'{"name": "x", "devices": [{"kind": "emulated"}]}', "field `id`"),
        (b'{"name": "x", "devices": [{"kind": "emulated", "id": "a", "sise": 1}]}', "sise"),
        (
            b'{"name": "x", "devices": [{"kind": "emulated", "id": "a", "save": {"x": 1}}]}',
            "field x",
        ),
        (b'{"name": "x", "transport": "rdma"}', "rdma"),
    ],
)
def test_json_that_is_no_scenario_is_refused_in_one_line(text, says):
    with pytest.raises(UsageError) as refusal:
        from_json(text, "my.json")
    message = str(refusal.value)
    assert message.startswith("my.json: not a scenario: ")
    assert says in message
    assert "\n" not in message


def test_origin_of_the_text_need_not_be_given():
    with pytest.raises(UsageError, match=r"^scenario: not a scenario: not JSON: Expecting"):
        from_json(b"{")


def test_file_is_loaded(tmp_path):
    path = tmp_path / "full.json"
    path.write_bytes(to_json(FULL))
    assert load(path) == FULL


def test_file_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "none.json"
    with pytest.raises(UsageError) as refusal:
        load(path)
    assert str(refusal.value) == f"{path}: cannot read the scenario: No such file or directory"


def test_file_that_is_no_scenario_is_named(tmp_path):
    path = tmp_path / "odd.json"
    path.write_text("{}")
    with pytest.raises(UsageError, match=f"{path}: not a scenario"):
        load(path)


def test_total_size_counts_the_pre_copy_part_only_where_there_is_a_pre_copy():
    device = EmulatedDevice(id="d", size=100, precopy_initial_bytes=10, precopy_dirty_bytes=5)
    assert (device.precopy_size, device.total_size) == (0, 100)
    device = msgspec.structs.replace(device, pre_copy=True)
    assert (device.precopy_size, device.total_size) == (15, 115)


MDEV = MdevDevice(id="m", type="mtty-2", parent="mtty")


def test_devices_of_several_kinds_come_back_in_their_order():
    mixed = Scenario(name="mixed", devices=(MDEV, DEVICE))
    assert from_json(to_json(mixed)) == mixed
    assert [each["kind"] for each in json.loads(to_json(mixed))["devices"]] == ["mdev", "emulated"]
    assert mixed.emulated == (DEVICE,)
    assert mixed.state_size == DEVICE.total_size


def test_device_of_the_kernel_is_the_plain_serial_card_where_nothing_is_said():
    text = b'{"name": "x", "devices": [{"kind": "mdev", "id": "a"}]}'
    assert from_json(text).devices == (MdevDevice(id="a", type="mtty-1", parent=""),)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"type": ""}, "m: type is empty; one is mtty-1"),
        ({"type": "../mtty-1"}, "m: type '../mtty-1' is a name, not a path"),
        ({"parent": "0000:00/x"}, "m: parent '0000:00/x' is a name, not a path"),
    ],
)
def test_mdev_that_makes_no_sense_is_refused(fields, words):
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        Scenario(name="x", devices=(MdevDevice(id="m", **fields),))


def test_device_of_the_kernel_does_not_report_what_it_has_loaded():
    hold = Hold(until=Until(loaded=True))
    with pytest.raises(ValueError, match="only a device with data_path=supervised reports"):
        Scenario(name="x", devices=(MDEV,), faults=(hold,))


def test_state_size_is_that_of_all_devices():
    small = EmulatedDevice(id="a", size=1)
    large = EmulatedDevice(id="b", size=10, pre_copy=True, precopy_dirty_bytes=5)
    assert Scenario(name="x", devices=(small, large)).state_size == 16
    assert Scenario(name="x", devices=()).state_size == 0


# -- faults, actions, a second migration -------------------------------------------------


def test_faults_and_actions_come_back_from_json():
    scenario = Scenario(
        name="faulty",
        faults=(Drop(select=Select(idx=(3,))), Hold(until=Until(packets=2))),
        actions=(Kill(when=When(), target=Target.SOURCE),),
        then=(Scenario(name="again"), Scenario(name="and-again")),
    )
    assert from_json(to_json(scenario)) == scenario


@pytest.mark.parametrize(
    ("then", "names"),
    [
        ("null", ["a"]),
        ('{"name": "b", "then": null}', ["a", "b"]),
        ('{"name": "b", "then": {"name": "c", "then": {"name": "d"}}}', ["a", "b", "c", "d"]),
        ('[{"name": "b"}, {"name": "c"}]', ["a", "b", "c"]),
    ],
    ids=["none", "one", "each in the one before", "a list, as today"],
)
def test_migrations_that_follow_are_read_as_earlier_versions_wrote_them(then, names):
    found = from_json(b'{"name": "a", "then": %s}' % then.encode())
    assert [each.name for each in found.migrations()] == names
    assert from_json(to_json(found)) == found


@pytest.mark.parametrize(
    ("then", "words"),
    [
        (
            '{"name": "b", "chanels": 1}',
            r"unknown field chanels in then\[0\]; did you mean",
        ),
        ('{"name": "b", "then": {"name": 1}}', r"then\[1\].name is 1: Expected `str`"),
        ('{"name": "b", "then": 7}', r"then is {"),
        ("7", "then is 7: Expected `array`"),
    ],
)
def test_wrong_migration_that_follows_is_named(then, words):
    with pytest.raises(UsageError, match=words):
        from_json(b'{"name": "a", "then": %s}' % then.encode())


def test_each_migration_has_those_that_follow_and_the_qemus_it_goes_between():
    following = (
        Scenario(name="b"), Scenario(name="c", qemu_dst="z"), Scenario(name="d", qemu="w"),
    )  # fmt: skip
    found = Scenario(name="a", qemu="x", qemu_dst="y", then=following).migrations()
    assert [(each.name, each.qemu, each.qemu_dst) for each in found] == [
        ("a", "x", "y"), ("b", "y", "y"), ("c", "y", "z"), ("d", "w", "w"),
    ]  # fmt: skip
    assert [[each.name for each in one.then] for one in found] == [
        ["b", "c", "d"], ["c", "d"], ["d"], [],
    ]  # fmt: skip


def test_each_migration_is_changed_in_turn():
    def change(each):
        return msgspec.structs.replace(each, machine="pc", channels=len(each.name))

    found = Scenario(name="a", then=(Scenario(name="bb"), Scenario(name="ccc"))).with_each(change)
    assert [each.channels for each in found.migrations()] == [1, 2, 3]
    assert {each.machine for each in found.migrations()} == {"pc"}


@pytest.mark.parametrize(
    ("fields", "has_relay"),
    [({}, False), ({"relay": True}, True), ({"faults": (Drop(),)}, True)],
)
def test_faults_need_a_relay(fields, has_relay):
    assert Scenario(name="a", **fields).has_relay is has_relay


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"relay": True, "transport": Transport.FILE}, "a migration through a file has no relay"),
        ({"faults": (Drop(),), "multifd": False}, "multifd is off"),
        ({"then": (Scenario(name="b", devices=()),)}, "then must have the same devices"),
        (
            {"then": (Scenario(name="b"), Scenario(name="c", machine="pc"))},
            "then must have the same devices, machine",
        ),
        (
            {"then": (Scenario(name="b", then=(Scenario(name="c"),)),)},
            "then is the list of all migrations that follow: one of them has its own",
        ),
        ({"faults": (Hold(until=Until(loaded=True)),)}, "only a device with data_path=supervised"),
        (
            {"faults": (Duplicate(until=Until(told="loaded", value=1)),)},
            "only a device with data_path=supervised",
        ),
    ],
)
def test_what_can_never_come_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        Scenario(name="a", **fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"data_path": DataPath.MEMFD, "save": SaveBehaviour(read_sizes=(1,))}, "need data_path"),
        ({"data_path": DataPath.MEMFD, "load": LoadBehaviour(error_at=1)}, "need data_path"),
        ({"data_path": DataPath.MEMFD, "pre_copy": True}, "need data_path"),
        ({"load": LoadBehaviour(lie=Lie.WRONG_BYTE, write_delay_s=1)}, "a lie needs"),
        (
            {"data_path": DataPath.SUPERVISED, "load": LoadBehaviour(lie=Lie.WRONG_BYTE)},
            "a lie needs",
        ),
        ({"load": LoadBehaviour(write_delay_s=-1)}, "below 0"),
        ({"save": SaveBehaviour(error_at=-1)}, "below 0"),
    ],
)
def test_setting_that_would_do_nothing_is_refused(fields, words):
    with pytest.raises(ValueError, match=f"^d: .*{words}"):
        Scenario(name="a", devices=(EmulatedDevice(id="d", **fields),))


def test_supervised_device_reports_what_it_has_loaded():
    device = EmulatedDevice(id="a", data_path=DataPath.SUPERVISED)
    assert Scenario(name="a", devices=(device,), faults=(Hold(until=Until(loaded=True)),))


# -- a guest ----------------------------------------------------------------------------


def test_guest_comes_back_from_json():
    scenario = Scenario(name="a", ram_mib=LINUX_RAM_MIB, guest=Guest(memory_kib=64))
    assert from_json(to_json(scenario)) == scenario


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ram_mib": 64}, "ram_mib is 64: a Linux guest needs 128 or more"),
        ({"guest": Guest(memory_kib=0)}, "guest: memory_kib is 0, not 1 to 65536"),
        ({"guest": Guest(memory_kib=65537)}, "guest: memory_kib is 65537, not 1 to 65536"),
        ({"guest": Guest(rounds=0)}, "guest: rounds is 0, below 1"),
        ({"guest": Guest(boot_deadline_s=0)}, "guest: boot_deadline_s is not above 0"),
        ({"interrupt_line": True}, "interrupt_line is what the harness does in place of a guest"),
        (
            {"devices": (EmulatedDevice(id="d", size=65595),)},
            "d: size is 65595: for a guest to find BAR 0 again it must be 65596 or more",
        ),
        (
            {"then": (Scenario(name="b", ram_mib=LINUX_RAM_MIB),)},
            "then must have the same devices, machine, qemu_args, ram_mib and guest",
        ),
    ],
)
def test_guest_that_cannot_run_or_be_judged_is_refused(fields, words):
    plain = {"ram_mib": LINUX_RAM_MIB, "guest": Guest()}
    with pytest.raises(ValueError, match=words):
        Scenario(name="a", **{**plain, **fields})


def test_guest_suspends_itself():
    suspend = Suspend(when=When())
    with pytest.raises(ValueError, match="suspend is what the harness does in place of a guest"):
        Scenario(name="x", ram_mib=LINUX_RAM_MIB, guest=Guest(), actions=(suspend,))


@pytest.mark.parametrize("field", ["save", "load", "refuses", "data_fds"])
def test_second_migration_of_a_device_may_behave_otherwise(field):
    refuses = (RefusedArc(side="source", to=MigrationState.STOP_COPY),)
    data_fds = (WrongDataFd(side="source", to=MigrationState.STOP_COPY, gives=Given.NONE),)
    others: dict[str, Any] = {
        "save": SaveBehaviour(error_at=0),
        "load": LoadBehaviour(error_at=0),
        "refuses": refuses,
        "data_fds": data_fds,
    }
    plain = EmulatedDevice(id="d")
    other = EmulatedDevice(id="d", **{field: others[field]})
    first = Scenario(name="a", devices=(plain,), then=(Scenario(name="b", devices=(other,)),))
    assert [each.devices for each in first.migrations()] == [(plain,), (other,)]
    assert from_json(to_json(first)) == first


@pytest.mark.parametrize("field", [{"size": 5}, {"seed": 3}, {"pre_copy": True}])
def test_second_migration_of_a_device_has_the_same_hardware(field):
    then = (Scenario(name="b", devices=(EmulatedDevice(id="d", **field),)),)
    with pytest.raises(ValueError, match="then must have the same devices"):
        Scenario(name="a", devices=(EmulatedDevice(id="d"),), then=then)
