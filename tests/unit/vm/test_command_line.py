"""The command line of one side."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from harness.vm import command_line


@pytest.fixture
def build():
    """Makes a command line; what is not given is small."""

    def make(**given):
        settings: dict[str, Any] = {
            "machine": "q35",
            "ram_mib": 64,
            "monitor_fd": 5,
            "boot": ["-bios", "/run/halt.bin"],
            "devices": [],
            "trace": (),
            "trace_folder": Path("/run/trace"),
            "is_incoming": False,
        }
        return command_line.build("qemu", **(settings | given))

    return make


def values(argv, option):
    return [value for name, value in itertools.pairwise(argv) if name == option]


def test_binary_comes_first(build):
    assert build()[0] == "qemu"


def test_machine_ram_and_firmware_are_those_given(build):
    argv = build(machine="pc-i440fx-10.0", ram_mib=17, boot=["-bios", "/a b/halt.bin"])
    assert values(argv, "-machine") == ["pc-i440fx-10.0"]
    assert values(argv, "-m") == ["17M"]
    assert values(argv, "-bios") == ["/a b/halt.bin"]


def test_monitor_is_the_descriptor(build):
    argv = build(monitor_fd=42)
    assert values(argv, "-chardev") == ["socket,id=qmp,fd=42"]
    assert values(argv, "-mon") == ["chardev=qmp,mode=control"]


def test_monitor_is_an_object_where_its_option_is_deprecated(build):
    argv = build(has_monitor_object=True)
    assert values(argv, "-object") == ["monitor-qmp,id=monitor,chardev=qmp"]
    assert "-mon" not in argv


def test_nothing_of_the_host_gets_in(build):
    argv = build()
    assert {"-nodefaults", "-no-user-config"} <= set(argv)
    assert values(argv, "-display") == ["none"]
    assert values(argv, "-accel") == ["tcg,tb-size=8"]


def test_devices_bring_their_own_options(build):
    options = ["-object", "iommufd,id=iommufd0,fd=3", "-device", "vfio-pci,fd=4"]
    argv = build(devices=options)
    at = argv.index("-object")
    assert argv[at : at + 4] == options


def test_every_trace_pattern_is_enabled_and_each_line_has_its_time(build):
    argv = build(trace=("vfio_*", "multifd_*"))
    assert values(argv, "-trace") == ["vfio_*", "multifd_*"]
    assert values(argv, "-msg") == ["timestamp=on"]
    assert values(build(), "-trace") == []


def test_every_thread_has_a_trace_file_of_its_own(build):
    argv = build(trace_folder=Path("/run/source-trace"))
    assert values(argv, "-D") == ["/run/source-trace/%d.log"]
    assert "tid" in values(argv, "-d")


def test_only_the_destination_waits_for_a_migration(build):
    assert values(build(is_incoming=True), "-incoming") == ["defer"]
    assert "-incoming" not in build()


def test_all_arguments_are_text(build):
    assert {type(argument) for argument in build(trace=("x",), is_incoming=True)} == {str}


def test_firmware_halts_where_the_cpu_starts():
    """The CPU starts 16 bytes below the end of the firmware, which ends at 4 GiB."""
    image = command_line.firmware()
    assert len(image) == 64 << 10
    code = image[-16:]
    assert code[:2] == b"\xfa\xf4", "cli, hlt"
    assert code[2] == 0xEB, "short jump"
    target = 4 + int.from_bytes(code[3:4], "little", signed=True)
    assert code[target] == 0xF4, "back to the hlt, should anything wake the CPU"
    assert not any(image[:-16])


def test_more_arguments_come_in_front_of_the_devices(build):
    argv = build(more=["-device", "intel-iommu"], devices=["-device", "vfio-pci"])
    assert values(argv, "-device") == ["intel-iommu", "vfio-pci"]
    assert argv.index("-machine") < argv.index("intel-iommu")
