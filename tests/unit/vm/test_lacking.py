"""What a build or the machine lacks: said where it is certain, and nothing else is excused."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from harness.errors import CannotRunHere, QmpError, UsageError
from harness.history.builds import BuildFacts
from harness.scenario import MIB, EmulatedDevice, Scenario, Tls
from harness.vm import lacking

QEMU = Path("/qemu")
SCHEMA = [
    {"name": "migrate-set-capabilities", "meta-type": "command", "arg-type": "0"},
    {"name": "0", "meta-type": "object", "members": [{"name": "capabilities", "type": "[1]"}]},
    {"name": "[1]", "meta-type": "array", "element-type": "1"},
    {
        "name": "1",
        "meta-type": "object",
        "members": [{"name": "capability", "type": "2"}, {"name": "state", "type": "bool"}],
    },
    {"name": "2", "meta-type": "enum", "values": ["multifd", "events"]},
    {"name": "migrate-set-parameters", "meta-type": "command", "arg-type": "3"},
    {
        "name": "3",
        "meta-type": "object",
        "members": [
            {"name": "multifd-compression", "type": "4"},
            {"name": "tls-creds", "type": "5"},
            {"name": "downtime-limit", "type": "int"},
        ],
    },
    {"name": "4", "meta-type": "enum", "values": ["none", "zlib"]},
    {"name": "5", "meta-type": "alternate", "members": []},
    {"name": "bool", "meta-type": "builtin"},
    {"name": "int", "meta-type": "builtin"},
]
"""In the form of query-qmp-schema, which masks the names of types (qapi/introspect.json)."""


class Monitor:
    """Answers what is not recorded."""

    def __init__(self, *, has_tls=True):
        self.has_tls = has_tls
        self.asked = []

    async def ask(self, command, arguments=None):
        self.asked.append(command)
        if command == "query-qmp-schema":
            return SCHEMA
        if command == "object-add" and not self.has_tls:
            raise QmpError(command, "GenericError", "requires GNUTLS")
        return {}


def why(scenario, **how):
    """What is lacking; "": nothing, so that the refusal is QEMU's own."""
    monitor: Any = Monitor(**how)
    words = ""
    try:
        asyncio.run(lacking.at_set_up(monitor, QEMU, scenario))
    except CannotRunHere as error:
        words = str(error)
    assert "\n" not in words
    return words


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"parameters": {"multifd-compression": "zstd"}}, "multifd-compression=zstd"),
        ({"parameters": {"x-new": 1}}, "x-new"),
        ({"capabilities": {"x-colo": True}}, "x-colo"),
    ],
)
def test_what_the_schema_does_not_have_is_lacking(fields, what):
    assert why(Scenario(name="asks", **fields)).startswith(
        f"/qemu: this build has no {what}, which asks needs: "
    )


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"parameters": {"multifd-compression": "zlib", "downtime-limit": 1, "tls-creds": "x"}},
        {"capabilities": {"events": False}},
        {"tls": Tls.PSK},
    ],
)
def test_refusal_of_what_the_build_has_is_its_own(fields):
    assert why(Scenario(name="asks", **fields)) == ""


def test_build_without_tls_lacks_it_only_where_it_is_wanted():
    assert "this build has no TLS, which secret needs" in why(
        Scenario(name="secret", tls=Tls.X509), has_tls=False
    )
    assert why(Scenario(name="plain"), has_tls=False) == ""


# -- start ----------------------------------------------------------------------------

FACTS = BuildFacts(
    path="/qemu",
    version=(10, 2, 2),
    version_text="10.2.2",
    vfio_pci_properties=("enable-migration", "x-migration-multifd-transfer"),
)
TYPES = frozenset({"vfio-pci", "iommufd", "tcg-accel", "memory-backend-ram"})
MACHINES = ("pc", "pc-q35-10.0", "q35")
ARGV = [
    *("qemu", "-machine", "q35", "-object", "iommufd,id=iommufd0,fd=3"),
    *("-device", "vfio-pci,id=vfio0"),
]


@pytest.mark.parametrize(
    ("types", "words", "what"),
    [
        (TYPES - {"vfio-pci"}, "not a valid device model name", "this build has no vfio-pci"),
        (TYPES - {"iommufd"}, "invalid object type", "this build has no iommufd"),
        (TYPES - {"tcg-accel"}, "invalid accelerator", "this build has no TCG"),
        (
            TYPES,
            "cannot set up guest memory 'pc.ram': Cannot allocate memory",
            "this machine lacks 64 MiB of memory for the guest",
        ),
    ],
)
def test_start_refused_for_lack_of_something(types, words, what):
    with pytest.raises(CannotRunHere, match=what):
        lacking.at_launch(FACTS, types, MACHINES, ARGV, Scenario(name="starts"), words)


@pytest.mark.parametrize("types", [TYPES, TYPES | {"vfio-user-pci"}])
def test_device_in_json_is_known_by_its_driver(types):
    """As QEMU takes what has members of its own, like the address of a socket."""
    argv = ["-device", '{"driver": "vfio-user-pci", "socket": {"path": "a,b"}}']
    how = (FACTS, types, MACHINES, argv, Scenario(name="starts"), "cannot connect")
    if types is not TYPES:
        lacking.at_launch(*how)
        return
    with pytest.raises(CannotRunHere, match="this build has no vfio-user-pci: use another build"):
        lacking.at_launch(*how)


def test_machine_that_the_build_does_not_have():
    with pytest.raises(CannotRunHere, match="this build has no machine q35"):
        lacking.at_launch(FACTS, TYPES, ("pc",), ARGV, Scenario(name="starts"), "unsupported")


def test_machine_of_a_capture_is_left_to_those_who_compare_it():
    argv = ["qemu", "-machine", "pc-q35-99.0"]
    lacking.at_launch(FACTS, TYPES, MACHINES, argv, Scenario(name="starts"), "unsupported")


def test_start_refused_for_another_reason_is_judged():
    words = "vfio0: VFIO migration is not supported in kernel"
    lacking.at_launch(FACTS, TYPES, MACHINES, ARGV, Scenario(name="starts"), words)


def test_property_that_the_builds_devices_do_not_have():
    device = EmulatedDevice(id="vfio0", properties={"x-new": "on"})
    scenario = Scenario(name="starts", devices=(device,))
    with pytest.raises(CannotRunHere, match="this build's vfio-pci has no property x-new"):
        lacking.at_launch(FACTS, TYPES, MACHINES, ARGV, scenario, "no")


# -- firmware -------------------------------------------------------------------------


@pytest.fixture
def qemu(tmp_path):
    """A QEMU whose data folders are these."""

    def make(*folders):
        path = tmp_path / "qemu"
        path.write_text(
            f"#!/bin/sh\n[ \"$*\" = '-L help' ] && printf '%s\\n' {' '.join(folders)}\n"
        )
        path.chmod(0o755)
        return path

    return make


def test_firmware_may_lie_in_any_of_the_folders(qemu, tmp_path):
    for folder, name in zip("ab", lacking.LINUX_FILES, strict=True):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).touch()
    binary = qemu(f"{tmp_path}/none", f"{tmp_path}/a", f"{tmp_path}/b")
    lacking.of_firmware(binary)
    (tmp_path / "b" / lacking.LINUX_FILES[1]).unlink()
    with pytest.raises(CannotRunHere, match=r"has no linuxboot_dma\.bin, which boots a guest"):
        lacking.of_firmware(binary)


def test_build_that_cannot_be_asked_is_one_line(tmp_path):
    with pytest.raises(CannotRunHere, match="-L help"):
        lacking.of_firmware(tmp_path / "none")


# -- memory ---------------------------------------------------------------------------


def test_states_must_fit_into_what_is_free(tmp_path):
    proc = tmp_path / "meminfo"
    proc.write_text("MemTotal: 9 kB\nMemAvailable: 2048 kB\nSwapFree: 1024 kB\n")
    lacking.of_memory(3 * MIB, Scenario(name="fits"), proc)
    with pytest.raises(CannotRunHere, match=r"large keeps 3 MiB .* this machine has 3 MiB free"):
        lacking.of_memory(3 * MIB + 1, Scenario(name="large"), proc)


# -- arguments of the scenario --------------------------------------------------------

PORT = Scenario(name="port", qemu_args=("-device", "pcie-root-port,slott=1"))
STAMP = "2026-11-28T08:20:20.123456Z qemu-system-x86_64: "
OPTION = "-device vfio-pci,id=vfio0,enable-migration=on: "
NO_PROPERTY = "-device pcie-root-port,slott=1: Property 'pcie-root-port.slott' not found"


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        (f"qemu-system-x86_64: {NO_PROPERTY}\n", NO_PROPERTY),
        (f"{STAMP}warning: old\n{STAMP}{NO_PROPERTY}\nUse -device help.\n", NO_PROPERTY),
        (f"{STAMP}{OPTION}PCI: slot 2 in use by x\n", f"{OPTION}PCI: slot 2 in use by x"),
        (f"{STAMP}{OPTION}warning: migration\n{STAMP}bad\n", "bad"),
        ("what is this\n\n", "what is this"),
        ("", "QEMU ended with status 1 and printed nothing"),
    ],
)
def test_bad_argument_is_said_in_qemus_words(stderr, words):
    with pytest.raises(UsageError) as refusal:
        lacking.of_arguments(PORT, 1, stderr)
    assert str(refusal.value) == f"port: qemu_args: {words}"


@pytest.mark.parametrize(
    ("scenario", "status", "stderr"),
    [
        (PORT, 1, f"{STAMP}{OPTION}vfio0: Migration is currently not supported with vIOMMU"),
        (PORT, -6, "Assertion failed"),
        (PORT, None, ""),
        (Scenario(name="plain"), 1, f"{STAMP}{NO_PROPERTY}"),
    ],
)
def test_other_ends_at_start_are_judged(scenario, status, stderr):
    lacking.of_arguments(scenario, status, stderr)


def test_type_that_an_argument_names_may_be_lacking():
    argv = [*ARGV, "-device", "intel-iommu,caching-mode=on"]
    with pytest.raises(CannotRunHere, match="this build has no intel-iommu"):
        lacking.at_launch(FACTS, TYPES, MACHINES, argv, PORT, "not a valid device model name")
