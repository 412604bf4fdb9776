"""Bad paths and streams, for every command: one clear line, never a traceback.

It could be wrong in each direction: a refusal that says nothing of the path, or speaks Python;
and a good path, or a stream nobody reads, that is refused.
"""

import functools
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.cli import COMMANDS
from harness.scenario import MIB, EmulatedDevice, Scenario, Tls, to_json

# As root, permissions would not matter.
_AS_A_USER = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner")
_NAME_OF_AN_EXCEPTION = re.compile(r"\b[A-Z]\w*(Error|Exception|Interrupt)\b")
_MOST_LINES = 2
_FULL = Path("/dev/full")


class Said(NamedTuple):
    status: int
    out: str
    err: str


class Things(NamedTuple):
    """What the commands are given where it is good."""

    folder: Path
    qemu: str
    scenario: str
    secured: str
    run: str
    capture: str


Call = Callable[..., Said]


def _call(*argv: str, prefix: Sequence[str] = (), shell: str = "") -> Said:
    command = [*prefix, sys.executable, "-m", "harness.cli", *argv]
    if shell:  # redirections
        command = ["bash", "-c", f'"$@" {shell}', "bash", *command]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL
    )
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory, qemu_src: Path) -> Iterator[Things]:
    folder = tmp_path_factory.mktemp("bad-input")
    plain = Scenario(name="plain", devices=(EmulatedDevice(id="vfio0", size=MIB),))
    secured = Scenario(name="tls", devices=plain.devices, tls=Tls.PSK)
    for each in (plain, secured):
        (folder / f"{each.name}.json").write_bytes(to_json(each))
    runs = folder / "kept"
    done = _call("run", str(folder / "plain.json"), "--capture", "--qemu", str(qemu_src),
                 "--runs", str(runs))  # fmt: skip
    run = runs / "plain-0001"
    assert (run / "migration.capture").exists(), done
    yield Things(folder, str(qemu_src), str(folder / "plain.json"), str(folder / "tls.json"),
                 str(run), str(run / "migration.capture"))  # fmt: skip
    shutil.rmtree(folder)


def _with(things: Things, argv: Sequence[str], bad: Path) -> list[str]:
    known = things._asdict() | {"bad": str(bad)}
    return [word.format(**known) for word in argv]


READ = {
    "run": ("run", "{bad}"),
    "run --qemu": ("run", "{scenario}", "--qemu", "{bad}"),
    "run --qemu-dst": ("run", "{scenario}", "--qemu", "{qemu}", "--qemu-dst", "{bad}"),
    "run --trace-events": ("run", "{scenario}", "--qemu", "{qemu}", "--trace-events", "{bad}",
                           "--runs", "{folder}/new"),
    "run --baseline": ("run", "{scenario}", "--qemu", "{qemu}", "--baseline", "{bad}"),
    "replay": ("replay", "{bad}", "--qemu", "{qemu}"),
    "replay --qemu": ("replay", "{capture}", "--qemu", "{bad}"),
    "recheck": ("recheck", "{bad}"),
    "compare before": ("compare", "{bad}", "{run}"),
    "compare after": ("compare", "{run}", "{bad}"),
    "measure --scenario": ("measure", "--scenario", "{bad}", "--qemu", "{qemu}"),
    "show": ("show", "{bad}"),
    "export": ("export", "{bad}", "-o", "{folder}/trace.json"),
    "serve": ("serve", "--scenario", "{bad}", "--side", "source", "--", "true", "@devices@"),
    "serve QEMU": ("serve", "--scenario", "{scenario}", "--side", "source", "--", "{bad}",
                   "@devices@"),
    "relay --scenario": ("relay", "--listen", "tcp:127.0.0.1:0", "--to", "tcp:127.0.0.1:1",
                         "--scenario", "{bad}"),
    "qmp": ("qmp", "{bad}"),
    "credentials": ("credentials", "--scenario", "{bad}", "{folder}/credentials"),
    "bisect --tree": ("bisect", "ORD-1", "--tree", "{bad}"),
    "bisect --scenario": ("bisect", "ORD-1", "--tree", "{folder}", "--build", "true", "--scenario",
                          "{bad}"),
    "repro --qemu": ("repro", "set-9-no-return-path", "--qemu", "{bad}"),
}  # fmt: skip
"""Arguments that are read, by a name of each."""

WRITTEN = {
    "run --runs": ("run", "{scenario}", "--qemu", "{qemu}", "--runs", "{bad}"),
    "run --report": ("run", "{scenario}", "--qemu", "{qemu}", "--runs", "{folder}/runs",
                     "--report", "{bad}/r.html"),
    "replay --runs": ("replay", "{capture}", "--qemu", "{qemu}", "--runs", "{bad}"),
    "recheck --report": ("recheck", "{run}", "--report", "{bad}/r.tap"),
    "measure --runs": ("measure", "--qemu", "{qemu}", "--runs", "{bad}"),
    "repro --runs": ("repro", "set-9-no-return-path", "--qemu", "{qemu}", "--runs", "{bad}"),
    "export -o": ("export", "{run}", "-o", "{bad}/trace.json"),
    "credentials": ("credentials", "--scenario", "{secured}", "{bad}/new"),
    "bisect --runs": ("bisect", "ORD-1", "--tree", "{folder}", "--build", "true", "--runs",
                      "{bad}"),
    "rig run --writable": ("rig", "run", "--runs", "{folder}/runs", "--writable", "{bad}", "--",
                           "true"),
    "rig run --runs": ("rig", "run", "--runs", "{bad}", "--", "true"),
}  # fmt: skip
"""Folders that are written to, likewise."""


def _check(said: Said, bad: Path, statuses: Sequence[int] = (3, 4)) -> None:
    assert "Traceback" not in said.err
    assert not _NAME_OF_AN_EXCEPTION.search(said.out + said.err)
    assert said.status in statuses, said
    lines = said.err.splitlines()
    assert 1 <= len(lines) <= _MOST_LINES, said
    assert all(line.startswith("vfio-multifd: error: ") for line in lines), said
    assert str(bad) in said.err, said


def _missing(folder: Path) -> Path:
    return folder / "no" / "such"


def _folder(folder: Path) -> Path:
    (folder / "folder").mkdir()
    return folder / "folder"


def _below_a_file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file" / "x"


def _nonsense(folder: Path) -> Path:
    (folder / "nonsense").write_bytes(b"\xff\x00nonsense\n")
    return folder / "nonsense"


def _unreadable(folder: Path) -> Path:
    path = folder / "unreadable"
    path.write_text("{}")
    path.chmod(0)
    return path


def _below_what_is_closed(folder: Path) -> Path:
    closed = folder / "closed"
    closed.mkdir()
    closed.chmod(0)
    return closed / "x"


@pytest.mark.parametrize(
    "make", [_missing, _folder, _below_a_file, _nonsense, _unreadable, _below_what_is_closed]
)
@pytest.mark.parametrize("name", READ)
def test_path_that_cannot_be_read_is_one_line(
    name: str, make: Callable[[Path], Path], things: Things, tmp_path: Path
) -> None:
    bad = make(tmp_path)
    said = _call(*_with(things, READ[name], bad), prefix=_AS_A_USER)
    _check(said, bad, (255, 125, 3, 4) if name.startswith("bisect") else (3, 4))


def _read_only(folder: Path) -> Path:
    path = folder / "read-only"
    path.mkdir(mode=0o555)
    return path


@pytest.mark.parametrize("make", [_nonsense, _below_a_file, _read_only, _below_what_is_closed])
@pytest.mark.parametrize("name", WRITTEN)
def test_folder_that_cannot_be_written_is_one_line(
    name: str, make: Callable[[Path], Path], things: Things, tmp_path: Path
) -> None:
    if name.startswith("rig run --writable") and make is _read_only:
        pytest.skip("the rig's command finds out, not the rig")
    bad = make(tmp_path)
    said = _call(*_with(things, WRITTEN[name], bad), prefix=_AS_A_USER)
    _check(said, bad)


PRINTS = {
    "run": ("run", "{scenario}", "--qemu", "{qemu}", "--runs", "{folder}/runs"),
    "run --steps": ("run", "{scenario}", "--qemu", "{qemu}", "--runs", "{folder}/runs", "--steps"),
    "run --json": ("run", "{scenario}", "--qemu", "{qemu}", "--runs", "{folder}/runs", "--json"),
    "replay": ("replay", "{capture}", "--qemu", "{qemu}", "--runs", "{folder}/runs"),
    "recheck": ("recheck", "{run}"),
    "compare": ("compare", "{run}", "{run}"),
    "repro": ("repro", "ref-11-empty-device-state-packet", "--qemu", "{qemu}", "--runs",
              "{folder}/runs"),
    "show": ("show", "{capture}"),
    "qemu list": ("qemu", "list"),
    "doctor": ("doctor", "--qemu", "{qemu}"),
    "help": ("--help",),
    "help of a command": ("run", "--help"),
    "version": ("--version",),
}  # fmt: skip


@pytest.fixture(scope="module")
def usual(things: Things) -> Callable[[str], tuple[Said, int]]:
    """What a command says where nothing is wrong with its streams, and how many runs it makes."""

    @functools.cache
    def call(name: str) -> tuple[Said, int]:
        shutil.rmtree(things.folder / "runs", ignore_errors=True)
        said = _call(*_with(things, PRINTS[name], Path()))
        return said, len(list(things.folder.glob("runs/*")))

    return call


@pytest.mark.parametrize("shell", [">/dev/full", ">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize("name", PRINTS)
def test_stream_that_cannot_be_used_loses_nothing_and_is_one_line(
    name: str, shell: str, things: Things, usual: Callable[[str], tuple[Said, int]]
) -> None:
    as_ever, runs = usual(name)
    shutil.rmtree(things.folder / "runs", ignore_errors=True)
    said = _call(*_with(things, PRINTS[name], Path()), shell=shell)
    assert "Traceback" not in said.err
    assert not _NAME_OF_AN_EXCEPTION.search(said.err)
    assert len(list(things.folder.glob("runs/*"))) == runs, "the runs are made all the same"
    if shell in (">/dev/full", ">&-"):
        (line,) = said.err.splitlines()
        assert line.startswith("vfio-multifd: error: standard output: cannot write: ")
        assert said.status != 0
    elif shell == ">&- 2>&-":
        assert said.status != 0
    else:
        assert (said.status, bool(said.out)) == (as_ever.status, bool(as_ever.out))


@pytest.mark.parametrize("name", PRINTS)
def test_reader_that_went_away_ends_the_command_quietly(name: str, things: Things) -> None:
    argv = _with(things, PRINTS[name], Path())
    said = _call(*argv, shell='| true; exit "${PIPESTATUS[0]}"')
    assert said.err == ""
    assert said.status == 141 or name in ("help", "help of a command", "version")


def test_disk_that_is_full_loses_the_report_and_not_the_verdict(things: Things) -> None:
    link = things.folder / "full.html"
    link.symlink_to(_FULL)
    try:
        said = _call("recheck", things.run, "--report", str(link))
    finally:
        link.unlink()
    (line,) = said.err.splitlines()
    assert "full.html: cannot write the report: No space left on device: free space" in line
    assert "ORD-1" in said.out
    assert said.status == 3


def test_report_in_the_folder_of_the_runs_that_is_not_there_yet(things: Things) -> None:
    fresh = things.folder / "fresh"
    said = _call("run", things.scenario, "--qemu", things.qemu, "--runs", str(fresh),
                 "--report", str(fresh / "r.html"))  # fmt: skip
    assert said.status in (0, 2), said
    assert (fresh / "r.html").stat().st_size
    shutil.rmtree(fresh)


def test_limit_of_file_sizes_is_one_line_that_names_it(things: Things) -> None:
    argv = _with(things, PRINTS["run"], Path())
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 1000; "$@"', "bash", sys.executable, "-m", "harness.cli", *argv],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    (line,) = done.stderr.splitlines()
    assert "ulimit -f" in line
    assert done.returncode == 3
    assert "VIOLATED" not in done.stdout


@pytest.mark.parametrize(
    "argv",
    [("frob",), ("run", "--size", "5X"), ("run", "--channels", "x"), ("recheck",), ()],
)
def test_usage_error_has_exit_status_4(argv: tuple[str, ...]) -> None:
    said = _call(*argv)
    assert (said.status, said.out) == (4, "")
    (line,) = said.err.splitlines()
    assert "--help" in line


def test_these_paths_are_all_that_commands_take() -> None:
    """One that is added gets its place in the tables."""
    named = {argv[0] for argv in (*READ.values(), *WRITTEN.values())}
    no_paths = {"check", "doctor", "qemu"}  # check says it on standard output
    assert set(COMMANDS) - no_paths <= named
