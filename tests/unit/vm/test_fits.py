"""Names that a build does not have are refused before it is run; what it has is not.

Wrong in one direction a QEMU is blamed for a name that it never had; in the other a right
scenario is refused, so a build that does not say what it has refuses nothing.
"""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.errors import PrerequisiteMissing, UsageError
from harness.scenario import EmulatedDevice, Scenario
from harness.scenario.action_plan import Kill, Target, When
from harness.vm import builds, fits
from harness.vm.builds import Probe
from tests.unit.check.histories import FACTS

HELP = """Supported machines are:
isapc                ISA-only PC
none                 empty machine
q35                  Standard PC (Q35 + ICH9, 2009) (alias of pc-q35-10.0)
pc-q35-10.0          Standard PC (Q35 + ICH9, 2009)
pc-i440fx-a-long-name A machine whose name fills the column
"""
EVENTS = 'vfio_save_block(int a) "%d"\nvfio_load(void) "x"\nmultifd_send(void) "x"\n'
SCHEMA = [
    {"name": "MIGRATION", "meta-type": "event", "arg-type": "1"},
    {"name": "DEVICE_DELETED", "meta-type": "event", "arg-type": "2"},
    {"name": "STOP", "meta-type": "event", "arg-type": "0"},
    {"name": "query-status", "meta-type": "command", "arg-type": "0", "ret-type": "2"},
    {"name": "0", "meta-type": "object", "members": []},
    {"name": "1", "meta-type": "object", "members": [{"name": "status", "type": "3"}]},
    {"name": "2", "meta-type": "object", "members": [{"name": "path", "type": "str"}]},
    {"name": "3", "meta-type": "enum", "values": ["active", "colo"]},
    {"name": "migrate-set-parameters", "meta-type": "command", "arg-type": "4", "ret-type": "0"},
    {"name": "4", "meta-type": "object", "members": [{"name": "zlib-level", "type": "str"}]},
    {"name": "str", "meta-type": "builtin", "json-type": "string"},
]

PROPERTIES = [
    {"name": name, "type": of_type}
    for name, of_type in {
        "x-no-mmap": "bool",
        "display": "OnOffAuto",
        "bootindex": "int32",
        "xres": "uint32",
        "x-queued-size": "size",
        "romfile": "str",
        "x-msix-relocation": "OffAutoPCIBAR",
    }.items()
]


@pytest.fixture
def build(tmp_path):
    """Makes something that answers as a QEMU does."""

    def make(name: str = "a", said: str = HELP, trace: str = EVENTS) -> str:
        folder = tmp_path / name
        (folder / "trace").mkdir(parents=True)
        (folder / "trace" / "trace-events-all").write_text(trace)
        (folder / "help").write_text(said)
        binary = folder / builds.BINARY
        binary.write_text(f"#!/bin/sh\ncat {folder}/help\n")
        binary.chmod(0o755)
        return str(binary)

    return make


@pytest.fixture(autouse=True)
def schemas(monkeypatch):
    """Folder of a build -> its schema; asked counts how often."""
    found: dict[str, Any] = {"a": SCHEMA, "b": SCHEMA}
    asked = []

    facts = msgspec.structs.replace(FACTS, capabilities=("multifd", "mapped-ram"))

    def probe(binary: Path) -> Probe:
        asked.append(binary)
        return Probe(
            facts,
            (),
            has_log_backend=True,
            schema=found[binary.parent.name],
            properties=PROPERTIES if binary.parent.name == "a" else (),
        )

    monkeypatch.setattr(builds, "probe_now", probe)
    found["asked"] = asked
    return found


def problems(binary: str, destination: str = "", **fields: Any) -> list[str]:
    wanted = Scenario(name="x", qemu=binary, qemu_dst=destination, **fields)
    return list(fits.problems(wanted))


def at(**fields: Any) -> dict[str, Any]:
    return {"actions": (Kill(target=Target.SOURCE, when=When(**fields)),)}


# -- machine -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["q35", "pc-q35-10.0", "pc-i440fx-a-long-name", "q35,smm=off"])
def test_machine_that_the_build_has(build, name):
    assert not problems(build(), machine=name)


@pytest.mark.parametrize(("name", "asks"), [("q35", False), ("pc", False), ("pc-q35-10.0", True)])
def test_build_is_asked_only_for_unusual_names(build, name, asks):
    binary = Path(build())
    asked = binary.with_name("asked")
    binary.write_text(f"#!/bin/sh\ntouch {asked}\ncat {binary.parent}/help\n")
    assert not problems(str(binary), machine=name)
    assert asked.exists() == asks


def test_machine_that_it_has_not(build):
    binary = build()
    (found,) = problems(binary, machine="q36")
    assert found == f"machine is 'q36': {binary} has none; did you mean q35?"


@pytest.mark.parametrize("name", ["none", "isapc", "microvm", "x-remote"])
def test_machine_without_a_bus_for_the_devices(build, name):
    (found,) = problems(build(), build("b"), machine=name)
    assert found.startswith(f"machine is {name!r}: it has no PCI bus")


def test_both_builds_must_have_it(build):
    old, new = build(), build("b", HELP + "pc-q35-11.0  newer\n")
    (found,) = problems(new, old, machine="pc-q35-11.0")
    assert old in found
    assert not problems(new, machine="pc-q35-11.0")


def test_build_that_is_made_anew_is_asked_anew(build):
    binary = build()
    assert problems(binary, machine="new")
    (Path(binary).parent / "help").write_text(HELP + "new  a machine\n")
    os.utime(binary, ns=(1, 1))
    assert not problems(binary, machine="new")


@pytest.mark.parametrize("said", ["", "QEMU emulator version 10.0.0\n"])
def test_build_that_does_not_say_refuses_nothing(build, said):
    assert not problems(build(said=said), machine="q36")


def test_build_that_is_not_there_cannot_be_asked():
    with pytest.raises(PrerequisiteMissing, match="no such QEMU"):
        problems("/nowhere/qemu")


# -- trace events --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("vfio_save_blok", "; did you mean vfio_save_block?"),
        ("multfd_*", "; did you mean multifd_*?"),
        ("", ""),
        ("vfio_*,file=x", ""),
    ],
)
def test_pattern_that_no_event_is_like(build, pattern, near):
    (found,) = problems(build(), trace=("vfio_*", pattern))
    assert found.startswith(f"trace[1] is {pattern!r}: the build has no such trace event{near}")


def test_pattern_that_an_event_of_one_build_is_like(build):
    old, new = build(), build("b", trace=EVENTS + 'newer(void) "x"\n')
    assert not problems(old, new, trace=("newer",))
    assert problems(old, trace=("newer",))


def test_nothing_is_traced_so_nothing_is_looked_up(build):
    binary = build()
    (Path(binary).parent / "trace" / "trace-events-all").unlink()
    assert not problems(binary, trace=())
    with pytest.raises(PrerequisiteMissing, match="trace-events-all"):
        problems(binary)


# -- QMP events ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ({"name": "MIGRATON"}, "name is 'MIGRATON': no QMP event; did you mean MIGRATION?"),
        ({"name": "query-status"}, "name is 'query-status': no QMP event"),
        ({"args": {"status": "actve"}}, "args.status is 'actve': unknown; did you mean active?"),
        ({"args": {"statu": "active"}}, "args.statu: MIGRATION has no such argument; did you mean"),
        ({"args": {"status": 5}}, "args.status is 5: unknown"),
        ({"args": {"status": ["active"]}}, "args.status is ['active']: unknown"),
    ],
)
def test_event_that_never_comes(build, when, words):
    (found,) = problems(build(), **at(**when))
    assert found.startswith(f"actions[0].when.{words}")


@pytest.mark.parametrize(
    "when",
    [
        {"args": {"status": "colo"}},
        {"name": "DEVICE_DELETED", "args": {"path": "/any"}},
        {"name": "return", "args": {"command": "anything"}},
        {"kind": "device", "name": "write", "args": {"offset": 0}},
    ],
)
def test_moment_that_may_come(build, when):
    assert not problems(build(), **at(**when))


@pytest.mark.parametrize("when", [{}, {"args": {"status": "active"}}, {"name": "STOP"}])
def test_event_that_every_build_has_asks_none(build, schemas, when):
    assert not problems(build(), **at(**when))
    assert not schemas["asked"]


def test_event_of_one_build_is_enough_and_a_build_that_does_not_say(build, schemas):
    old, new = build(), build("b")
    schemas["b"] = [*SCHEMA, {"name": "NEWER", "meta-type": "event", "arg-type": "0"}]
    assert not problems(old, new, **at(name="NEWER"))
    assert problems(old, **at(name="NEWER"))
    schemas["b"] = []
    os.utime(new, ns=(1, 1))
    assert not problems(old, new, **at(name="WHATEVER"))


# -- capabilities and parameters -----------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"capabilities": {"mutifd": True}}, "capabilities.mutifd: the build has no such name; "
         "did you mean multifd?"),
        ({"parameters": {"zlib-levl": 1}}, "parameters.zlib-levl: the build has no such name; "
         "did you mean zlib-level?"),
    ],
)  # fmt: skip
def test_setting_whose_name_is_nearly_another(build, fields, words):
    assert problems(build(), **fields) == [words]


@pytest.mark.parametrize(
    "fields",
    [
        {"capabilities": {"multifd": True, "mapped-ram": False}},
        {"capabilities": {"of-a-newer-build": True}},
        {"parameters": {"zlib-level": 1, "max-bandwidth": 5}},
        {"parameters": {"of-a-newer-build": 1}},
    ],
)
def test_setting_that_the_build_has_or_may_lack(build, fields):
    assert not problems(build(), **fields)


def test_usual_settings_ask_no_build(build, schemas):
    assert not problems(build(), capabilities={"multifd": True}, parameters={"max-bandwidth": 1})
    assert not schemas["asked"]


# -- properties ----------------------------------------------------------------------------


def with_property(name: str, value: str | int | bool) -> dict[str, Any]:
    return {"devices": (EmulatedDevice(id="vfio0", properties={name: value}),)}


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("x-no-mmap", "x", "on or off"),
        ("x-no-mmap", 1, "on or off"),
        ("x-no-mmap", "", "on or off"),
        ("display", "yes", "on, off or auto"),
        ("bootindex", 1 << 31, "-2147483648 to 2147483647"),
        ("bootindex", "first", "a number"),
        ("bootindex", True, "a number"),
        ("xres", -1, "0 to 4294967295"),
        ("xres", 1 << 32, "0 to 4294967295"),
        ("x-queued-size", -1, "a size like 4096 or 16M"),
        ("x-queued-size", "many", "a size like 4096 or 16M"),
        ("x-queued-size", 1 << 64, "a size like 4096 or 16M"),
    ],
)
def test_value_that_qemu_refuses_at_its_start(build, name, value, wanted):
    (found,) = problems(build(), **with_property(name, value))
    assert found == f"devices[0].properties.{name} is {value!r}, not {wanted}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-no-mmap", "on"), ("x-no-mmap", True), ("x-no-mmap", "n"),
        ("display", "auto"), ("display", False),
        ("bootindex", -1), ("bootindex", "0x10"), ("xres", (1 << 32) - 1),
        ("x-queued-size", 0), ("x-queued-size", "1.5G"), ("x-queued-size", (1 << 64) - 1),
        ("romfile", ""), ("romfile", 5), ("x-msix-relocation", "bar2"),
        ("x-of-a-newer-build", "anything"),
    ],
)  # fmt: skip
def test_value_that_qemu_takes_or_that_is_not_known_here(build, name, value):
    assert not problems(build(), **with_property(name, value))


def test_name_that_is_nearly_another(build):
    (found,) = problems(build(), **with_property("x-no-mmpa", "on"))
    assert found == (
        "devices[0].properties.x-no-mmpa: vfio-pci has no such property; did you mean x-no-mmap?"
    )


def test_build_that_does_not_say_its_properties_refuses_none(build):
    assert not problems(build("b"), **with_property("x-no-mmpa", "maybe"))


def test_device_without_properties_asks_no_build(build, schemas):
    assert not problems(build())
    assert not schemas["asked"]


# -- all of it -----------------------------------------------------------------------------


def test_all_that_is_wrong_is_in_one_line_that_of_a_second_migration_too(build):
    then = Scenario(name="y", trace=("vfo_*",), machine="q36")
    wanted = Scenario(name="x", qemu=build(), machine="q36", trace=("zzz",), then=(then,))
    with pytest.raises(UsageError) as refused:
        fits.require(wanted)
    said = str(refused.value)
    assert said.startswith("x: machine is 'q36'")
    assert "; trace[0] is 'zzz'" in said
    assert "; then[0]: trace[0] is 'vfo_*': the build has no such trace event; did you" in said


def test_replay_asks_the_destination_alone(build):
    wanted = Scenario(name="x", qemu="/gone/qemu", qemu_dst=build())
    fits.require(wanted, is_replayed=True)
    with pytest.raises(PrerequisiteMissing):
        fits.require(wanted)
