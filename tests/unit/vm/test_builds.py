"""Finding a QEMU, and asking it what it is."""

import fnmatch
import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness.errors import PrerequisiteMissing, QmpError
from harness.vm import builds, fetched
from harness.vm.builds import BINARY, ENVIRONMENT

ANSWERS = {
    "device-list-properties": [{"name": "x-b"}, {"name": "a"}],
    "query-migrate-capabilities": [
        {"capability": "xbzrle", "state": False},
        {"capability": "multifd", "state": True},
    ],
    "qom-get": "pc-q35-10.0-machine",
    "trace-event-get-state": [{"name": "vfio_load_bufs_thread_start", "state": "disabled"}],
    "query-machines": [{"name": "pc-q35-10.0", "alias": "q35"}, {"name": "none"}],
    "qom-list-types": [{"name": "vfio-pci", "parent": "vfio-pci-base"}],
}
ARGUMENTS = {
    "device-list-properties": {"typename": "vfio-pci"},
    "qom-get": {"path": "/machine", "property": "type"},
    "trace-event-get-state": {"name": "vfio_load_bufs_thread_start"},
}


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch, tmp_path):
    """A machine that has no QEMU but for those that the test makes."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.setattr(fetched, "CACHE", tmp_path / "cache")


@pytest.fixture
def new_build(new_program):
    """Makes a program that says this version."""
    return lambda name, version="10.0.2": new_program(
        f'#!/bin/sh\necho "QEMU emulator version {version} (Debian 1:{version})"\n', name
    )


def refusal(function, *args):
    with pytest.raises(PrerequisiteMissing) as refused:
        function(*args)
    message = str(refused.value)
    assert "\n" not in message
    return message


# -- where one is ---------------------------------------------------------------------


def test_path_that_is_given_is_used(new_build):
    binary = new_build("some/where/qemu")
    assert builds.find(str(binary)) == binary


def test_relative_path_is_made_absolute(new_build, monkeypatch, tmp_path):
    binary = new_build("qemu")
    monkeypatch.chdir(tmp_path)
    assert builds.find("./qemu") == binary
    assert builds.find("qemu") == binary


def test_folder_of_path_that_is_relative_is_made_absolute(new_build, monkeypatch, tmp_path):
    """A QEMU starts in a working directory of its own."""
    binary = new_build(f"bin/{BINARY}", "10.0.0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"bin{os.pathsep}{os.defpath}")
    assert builds.find() == binary


def test_name_that_is_given_is_looked_for_on_the_path(new_build):
    binary = new_build("bin/my-qemu")
    assert builds.find("my-qemu") == binary


def test_folder_that_is_given_has_the_binary_in_it(new_build):
    binary = new_build(f"build/{BINARY}")
    assert builds.find(str(binary.parent)) == binary


def test_folder_without_the_binary_is_refused(tmp_path):
    assert refusal(builds.find, str(tmp_path)) == (
        f"--qemu: {tmp_path} has no {BINARY}, neither directly nor in build/"
    )


def test_missing_path_is_refused(tmp_path):
    path = tmp_path / "none"
    assert refusal(builds.find, str(path)) == f"--qemu: {path}: no such QEMU"


def test_build_tree_has_the_binary_below_it(new_build, tmp_path):
    binary = new_build(f"tree/build/{BINARY}")
    assert builds.find(str(tmp_path / "tree")) == binary
    beside = new_build(f"tree/{BINARY}")
    assert builds.find(str(tmp_path / "tree")) == beside


def test_fetched_build_is_found_by_its_name(new_build, tmp_path, monkeypatch):
    fetched_one = new_build(f"cache/debian-13/{BINARY}")
    mine = new_build(f"cache/mine/{BINARY}")
    new_build(f"debian-13/{BINARY}")
    monkeypatch.chdir(tmp_path)
    assert builds.find("debian-13") == fetched_one
    assert builds.find("mine") == mine
    assert builds.find("./debian-13") == tmp_path / "debian-13" / BINARY


def test_environment_may_give_a_name_too(new_build, monkeypatch):
    binary = new_build(f"cache/debian-13-backports/{BINARY}")
    new_build(f"cache/debian-13/{BINARY}")
    monkeypatch.setenv(ENVIRONMENT, "debian-13-backports")
    assert builds.find() == binary


def test_name_of_a_build_that_was_not_fetched_tells_how_to_fetch_it():
    assert refusal(builds.find, "debian-13-backports") == (
        "--qemu: debian-13-backports is not fetched yet: "
        "vfio-multifd qemu fetch debian-13-backports"
    )


def test_unknown_name_is_refused_with_those_that_are_known(new_build):
    new_build(f"cache/mine/{BINARY}")
    assert refusal(builds.find, "debian-12") == (
        "--qemu: debian-12: no such QEMU; builds with names: "
        "debian-13, debian-13-backports, debian-12-backports, mine"
    )


def test_file_that_is_not_executable_is_refused(new_build):
    binary = new_build("qemu")
    binary.chmod(0o644)
    assert refusal(builds.find, str(binary)) == f"--qemu: {binary}: not an executable file"


def test_environment_names_one_and_is_named_when_it_is_wrong(new_build, monkeypatch):
    binary = new_build("qemu")
    monkeypatch.setenv(ENVIRONMENT, str(binary))
    assert builds.find() == binary
    monkeypatch.setenv(ENVIRONMENT, "/none/qemu")
    assert refusal(builds.find) == f"{ENVIRONMENT}: /none/qemu: no such QEMU"


def test_what_is_given_comes_before_the_environment(new_build, monkeypatch):
    given, other = new_build("given"), new_build("other")
    monkeypatch.setenv(ENVIRONMENT, str(other))
    assert builds.find(str(given)) == given


def test_environment_comes_before_the_path(new_build, monkeypatch):
    other = new_build("other")
    new_build(f"bin/{BINARY}")
    monkeypatch.setenv(ENVIRONMENT, str(other))
    assert builds.find() == other


def test_new_enough_qemu_on_the_path_comes_before_a_fetched_one(new_build):
    on_path = new_build(f"bin/{BINARY}", "10.0.0")
    new_build(f"cache/trixie/{BINARY}")
    assert builds.find() == on_path


def test_fetched_qemu_comes_before_one_on_the_path_that_is_too_old(new_build):
    new_build(f"bin/{BINARY}", "9.2.4")
    fetched = new_build(f"cache/trixie/{BINARY}")
    assert builds.find() == fetched


def test_qemu_on_the_path_that_is_too_old_is_found_where_there_is_no_other(new_build):
    """Its version is then what the user is told."""
    on_path = new_build(f"bin/{BINARY}", "7.2.0")
    assert builds.find() == on_path


def test_fetched_qemus_are_found_in_a_fixed_order(new_build):
    new_build(f"cache/debian-12-backports/{BINARY}")
    new_build(f"cache/a/{BINARY}")
    first = new_build(f"cache/debian-13/{BINARY}")
    assert builds.find() == first


def test_no_qemu_at_all_tells_what_to_do():
    assert refusal(builds.find) == (
        "no qemu-system-x86_64 on PATH: use --qemu, "
        "or fetch one with vfio-multifd qemu fetch debian-13"
    )


def test_names_that_others_rely_on():
    assert ENVIRONMENT == "QEMU_TEST_QEMU_BINARY", "as QEMU's own functional tests have it"


# -- what it is -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+2)", (10, 0, 2)),
        ("QEMU emulator version 11.1.50 (v11.1.0-123-gdeadbeef)", (11, 1, 50)),
        ("QEMU emulator version 7.2.0\nCopyright (c)", (7, 2, 0)),
    ],
)
def test_version_is_what_it_says(new_program, said, version):
    binary = new_program(f'#!/bin/sh\n[ "$1" = --version ] && echo "{said}"\n')
    assert builds.version_of(binary) == version


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo nonsense", "not a QEMU: --version prints 'nonsense'"),
        ("echo one; echo two >&2; exit 3", "not a QEMU: --version prints 'two'"),
        ("exit 1", "not a QEMU: --version prints 'nothing'"),
        (r"printf 'a\377'", r"not a QEMU: --version prints 'a\\xff'"),
        (r"printf 'b\377' >&2", r"not a QEMU: --version prints 'b\\xff'"),
    ],
)
def test_program_that_is_no_qemu_is_refused(new_program, script, says):
    binary = new_program(f"#!/bin/sh\n{script}\n")
    assert refusal(builds.version_of, binary) == f"{binary}: {says}"


def test_file_that_is_no_program_is_refused(new_program):
    binary = new_program("\x7fELF and no more")
    assert refusal(builds.version_of, binary) == f"{binary}: cannot execute: Exec format error"


def test_program_that_does_not_end_is_refused(new_program, monkeypatch):
    monkeypatch.setattr(builds, "_PROBE_TIMEOUT_S", 0.1)
    binary = new_program("#!/bin/sh\nexec /bin/sleep 1000\n")
    assert refusal(builds.version_of, binary) == f"{binary}: --version did not end"


@pytest.mark.parametrize("version", [(7, 2, 0), (9, 2, 99)])
def test_version_without_the_feature_is_refused(version):
    text = ".".join(map(str, version))
    assert refusal(builds.require_version, "/q/qemu", version) == (
        f"/q/qemu: QEMU {text} has no multifd transfer of VFIO device state: "
        "version 10.0 or newer is needed"
    )


@pytest.mark.parametrize("version", [(10, 0, 0), (10, 0, 13), (11, 1, 3)])
def test_version_with_the_feature_is_accepted(version):
    builds.require_version("/q/qemu", version)


# -- the monitor's object --------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "has"), [("10.2.2", False), ("11.0.50", False), ("11.1.0", True), ("12.0.0", True)]
)
def test_version_that_was_asked_says_whether_there_is_a_monitor_object(new_build, version, has):
    binary = new_build("one", version)
    assert not builds.has_monitor_object(binary), "it is not started for that"
    builds.version_of(binary)
    assert builds.has_monitor_object(binary) is has


def test_another_build_in_its_place_is_not_known(new_build):
    binary = new_build("one", "11.1.3")
    builds.version_of(binary)
    binary.unlink()
    assert not builds.has_monitor_object(binary)
    new_build("one", "10.0.13 or so, of another size")
    assert not builds.has_monitor_object(binary)


@pytest.mark.parametrize(("said", "has"), [("11.1.3", True), ("10.0.13", False), ("new", False)])
def test_manifest_of_a_fetched_build_says_whether_there_is_a_monitor_object(tmp_path, said, has):
    folder = tmp_path / "cache" / "some"
    folder.mkdir(parents=True)
    (folder / BINARY).touch()
    assert not builds.has_monitor_object(folder / BINARY), "it has no manifest"
    manifest = dict.fromkeys(("debian", "suite", "architecture", "fetched"), "")
    manifest |= {"name": "some", "qemu": said}
    (folder / fetched.MANIFEST).write_text(json.dumps(manifest))
    assert builds.has_monitor_object(folder / BINARY) is has


# -- trace-events-all -----------------------------------------------------------------


@pytest.fixture
def new_events(tmp_path):
    """Makes a trace-events-all in this folder."""

    def make(folder):
        path = tmp_path / folder / "trace-events-all"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    return make


@pytest.mark.parametrize(
    ("binary", "folder"),
    [
        (f"build/{BINARY}", "build/trace"),
        (f"usr/bin/{BINARY}", "usr/share/qemu"),
        (f"fetched/{BINARY}", "fetched/usr/share/qemu"),
    ],
)
def test_trace_events_are_found_beside_the_binary(new_build, new_events, binary, folder):
    path = new_events(folder)
    assert builds.trace_events_path(new_build(binary)) == path


@pytest.mark.parametrize("folder", ["a/bin/trace", "a/share/qemu", "b/bin/trace", "b/share/qemu"])
def test_trace_events_are_found_beside_a_link_or_what_it_leads_to(
    new_build, new_events, tmp_path, folder
):
    path = new_events(folder)
    link = tmp_path / "a" / "bin" / BINARY
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(new_build(f"b/bin/{BINARY}"))
    assert builds.trace_events_path(link) == path


def test_path_of_trace_events_that_is_given_is_used(new_build, new_events):
    new_events("build/trace")
    given = builds.trace_events_path(new_build(f"build/{BINARY}"), "/some/trace-events-all")
    assert given == Path("/some/trace-events-all")


def test_no_trace_events_tell_what_to_do(new_build):
    binary = new_build("build/qemu")
    assert refusal(builds.trace_events_path, binary) == (
        f"{binary}: trace-events-all not found: give its path with --trace-events"
    )


# -- what it can do -------------------------------------------------------------------


class Monitor:
    """A QEMU that answers so; None: it refuses."""

    version = (10, 0, 2)
    version_text = "10.0.2 Debian"

    def __init__(self, **answers):
        self._answers = {**ANSWERS, **answers}

    async def execute(self, command, arguments=None):
        assert (arguments or {}) == ARGUMENTS.get(command, {})
        answer = self._answers[command]
        if answer is None:
            raise QmpError(command, "GenericError", "no")
        return answer


async def facts_of(**answers):
    monitor: Any = Monitor(**answers)
    return await builds.facts(monitor, "/q/qemu")


async def test_facts_are_what_qemu_answers():
    facts = await facts_of()
    assert facts.path == "/q/qemu"
    assert (facts.version, facts.version_text) == ((10, 0, 2), "10.0.2 Debian")
    assert facts.machine == "pc-q35-10.0"
    assert facts.vfio_pci_properties == ("a", "x-b")
    assert facts.capabilities == ("multifd", "xbzrle")
    assert facts.trace_events


async def test_build_without_vfio_pci_has_no_properties_of_it():
    facts = await facts_of(**{"device-list-properties": None})
    assert facts.vfio_pci_properties == ()


async def test_machine_that_is_not_told_is_unknown():
    assert (await facts_of(**{"qom-get": None})).machine == ""


@pytest.mark.parametrize("states", [None, [], [{"name": "x", "state": "unavailable"}]])
async def test_build_without_the_trace_event_has_none(states):
    facts = await facts_of(**{"trace-event-get-state": states})
    assert not facts.trace_events


@pytest.fixture
def with_tools(monkeypatch):
    """A probed program is started with setpriv."""
    monkeypatch.setenv("PATH", os.defpath)


@pytest.mark.usefixtures("with_tools")
async def test_probe_asks_the_running_build(new_qemu):
    binary = new_qemu(version="11.1.3", package="Debian", answers=ANSWERS, log="1@2.3:qmp_x \n")
    probe = await builds.probe(binary)
    assert probe.facts.version == (11, 1, 3)
    assert probe.facts.path == str(binary)
    assert probe.facts.capabilities == ("multifd", "xbzrle")
    assert probe.machines == ("none", "pc-q35-10.0", "q35")
    assert probe.has_log_backend
    assert probe.types == {"vfio-pci"}


@pytest.mark.usefixtures("with_tools")
def test_probe_needs_no_machine_and_traces_something(new_qemu, tmp_path):
    argv_file = tmp_path / "argv"
    builds.probe_now(new_qemu(answers=ANSWERS, argv_into=str(argv_file)))
    argv = json.loads(argv_file.read_text())
    for option, value in (
        ("-machine", "none"),
        ("-display", "none"),
        ("-mon", "chardev=qmp,mode=control"),
        ("-msg", "timestamp=on"),
    ):
        assert argv[argv.index(option) + 1] == value
    assert {"-nodefaults", "-no-user-config", "-S"} <= set(argv)
    pattern = argv[argv.index("-trace") + 1]
    assert fnmatch.fnmatch("handle_qmp_command", pattern), "an event that this raises"


@pytest.mark.usefixtures("with_tools")
def test_probed_build_is_told_to_quit_and_leaves_nothing(new_qemu, tmp_path):
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    builds.probe_now(new_qemu(answers=ANSWERS, quits_into=str(tmp_path / "quit")))
    assert (tmp_path / "quit").exists()
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@pytest.mark.usefixtures("with_tools")
@pytest.mark.parametrize("behaviour", [{}, {"log": ""}])
def test_build_that_writes_no_trace_has_no_log_backend(new_qemu, behaviour):
    assert not builds.probe_now(new_qemu(answers=ANSWERS, **behaviour)).has_log_backend


@pytest.mark.usefixtures("with_tools")
def test_probe_of_an_old_build_is_refused_before_it_is_started(new_qemu):
    binary = new_qemu(version="9.2.0", says="started", exit=1)
    assert "QEMU 9.2.0 has no multifd transfer" in refusal(builds.probe_now, binary)


@pytest.mark.usefixtures("with_tools")
@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ({"says": "one\nlibfoo.so: cannot open", "exit": 127}, "libfoo.so: cannot open"),
        ({"greets": False}, "harness: no QMP greeting within 0.3 s"),
        (
            {"dies_of": {"query-machines": 11}},
            "harness: the monitor went away during query-machines",
        ),
    ],
)
def test_build_that_does_not_come_up_is_refused_with_its_last_words(
    new_qemu, monkeypatch, behaviour, says
):
    binary = new_qemu(answers=ANSWERS, **behaviour)
    if "greets" in behaviour:
        monkeypatch.setattr(builds, "version_of", lambda _binary: (10, 0, 2))
        monkeypatch.setattr(builds, "_PROBE_TIMEOUT_S", 0.3)
    assert refusal(builds.probe_now, binary) == f"{binary}: does not start: {says}"


# -- two builds -----------------------------------------------------------------------


@pytest.fixture
def with_machines(new_qemu, new_program, with_tools, tmp_path):
    """Makes a build that knows these machine types."""

    def make(name, *machines):
        answers = {**ANSWERS, "query-machines": [{"name": machine} for machine in machines]}
        made = new_qemu(answers=answers)
        return made.rename(tmp_path / name)

    return make


OLDER = ("pc-q35-9.2", "pc-q35-10.0", "pc-i440fx-10.0")
NEWER = (*OLDER, "pc-q35-10.1", "pc-i440fx-10.1", "pc-i440fx-11.0", "q35", "none")


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        ("q35", "pc-q35-10.0"),
        ("pc", "pc-i440fx-10.0"),
        ("pc-q35-9.2", "pc-q35-9.2"),
        ("microvm", "microvm"),
    ],
)
def test_two_builds_are_given_the_newest_machine_type_that_both_know(with_machines, wanted, given):
    old, new = with_machines("old", *OLDER), with_machines("new", *NEWER)
    assert builds.common_machine(wanted, old, new) == given
    assert builds.common_machine(wanted, new, old) == given


def test_newest_is_by_number():
    names = [f"pc-q35-{version}" for version in ("9.2", "10.0", "8.1")]

    class Known:
        machines = tuple(names)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builds, "probe_now", lambda _binary: Known)
        assert builds.common_machine("q35", Path("/by/a"), Path("/number/b")) == "pc-q35-10.0"


def test_one_build_is_not_asked_and_keeps_the_alias():
    assert builds.common_machine("q35", Path("/none"), Path("/none")) == "q35"


def test_builds_without_a_common_machine_type_are_refused(with_machines):
    old, new = with_machines("old", "pc-q35-2.4"), with_machines("new", "pc-q35-11.0")
    assert refusal(builds.common_machine, "q35", old, new) == (
        f"{old} and {new} have no pc-q35 machine type in common"
    )
