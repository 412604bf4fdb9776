"""Nobody else gets in: in mid-migration another user of the machine tries all that there is."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.history import Kind, rundir
from harness.history.rundir import RunDir
from harness.history.wire import ChannelOpened, StrangerRefused
from harness.scenario import MIB, EmulatedDevice, OnOffAuto, Scenario, Tls, Transport, to_json
from harness.scenario.action_plan import Tell, When
from harness.scenario.fault_plan import Hold, HoldConnections, Select, Until
from harness.session.session import Session
from harness.vm.sockets import DESTINATION, FOLDER, RELAY
from tests.records import events, held

DEADLINE_S = 60.0
NOBODY = 65534
LISTENS = "00010000"  # __SO_ACCEPTCON, in the column Flags of /proc/net/unix
DEVICE = EmulatedDevice(id="vfio0", size=MIB)  # one buffer: too little for the known deadlock
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can try it as another user")

# Standard input: [[way, path], ...]; standard output: what came of each, in order.
# All that Python needs is imported before: another user may not be let in where Python is.
INTRUDER = f"""
import json, os, socket, sys
os.setgroups([])
os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})

def connect(name):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(name)

ways = {{
    "enter": os.chdir,
    "list": os.listdir,
    "read": lambda path: open(path, "rb").read(1),
    "write": lambda path: open(path, "ab"),
    "make": os.mkdir,
    "connect": connect,
    "abstract": lambda name: connect("\\0" + name),
}}
said = []
for way, path in json.load(sys.stdin):
    try:
        ways[way](path)
        said.append("")
    except OSError as error:
        said.append(type(error).__name__)
print(json.dumps(said))
"""


def _as_nobody(*tries: tuple[str, Path | str]) -> list[str]:
    """What came of each try; "": it went well."""
    done = subprocess.run(
        [sys.executable, "-IS", "-c", INTRUDER],
        input=json.dumps([(way, str(path)) for way, path in tries]),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: list[str] = json.loads(done.stdout)
    return said


@pytest.fixture
def umask() -> Iterator[None]:
    """A user who shares all that they make."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def everybodys(umask: None) -> Iterator[Path]:
    """A folder of the user's that everybody enters, with a file and a socket for everybody."""
    folder = Path(tempfile.mkdtemp(prefix="vfio-multifd-test-"))
    folder.chmod(0o755)
    (folder / "file").touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        (folder / "socket").chmod(0o666)
        listener.listen(1)
        yield folder
    shutil.rmtree(folder)


def _open_to_others(folder: Path) -> list[str]:
    """What below ``folder``, itself too, has a mode that lets others in."""
    found = [folder, *folder.rglob("*")]
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in found}
    return [f"{path} {mode:o}" for path, mode in modes.items() if mode & 0o077]


def _names(pids: list[int]) -> set[tuple[str, bool]]:
    """Of each unix socket of ``pids`` that has one: name as in /proc/net/unix, does it listen."""
    inodes = set()
    for pid in pids:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                inodes.add(fd.readlink().name.removeprefix("socket:[").removesuffix("]"))
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return {(each[7], each[3] == LISTENS) for each in lines if len(each) == 8 and each[6] in inodes}


class Held:
    """A session that waits in mid-migration until the source is asked for its status."""

    def __init__(self, runs: Path, qemu: Path, **fields: Any) -> None:
        asked = When(name="execute", side="source", args={"command": "query-status"})
        tell = Tell(when=asked, name="go")
        scenario = Scenario(
            name="held",
            qemu=str(qemu),
            devices=(DEVICE,),
            actions=(tell,),
            deadline_s=DEADLINE_S,
            **fields,
        )
        self.rundir = RunDir.create(runs, "held")
        has_capture = not scenario.has_tls
        self.session = Session(scenario, self.rundir, has_capture=has_capture)
        self._is_held = asyncio.Event()
        self.session.log.listen(self._see)
        self._loop = asyncio.get_running_loop()

    def _see(self, record: Any) -> None:
        if record.kind is Kind.WIRE and record.name == "fault":
            self._loop.call_soon_threadsafe(self._is_held.set)

    @property
    def pids(self) -> list[int]:
        """Of both QEMUs."""
        peers = (self.session.source, self.session.destination)
        return [peer.vm.process.pid for peer in peers if peer.vm.process is not None]

    async def tried(self, attempt: Any) -> Any:
        """Migrate, and call ``attempt`` in a thread while the migration waits."""
        async with self.session as session:
            assert await session.boot()
            async with asyncio.TaskGroup() as group:
                migrating = group.create_task(session.migrate())
                async with asyncio.timeout(DEADLINE_S):
                    await self._is_held.wait()
                try:
                    return await asyncio.to_thread(attempt)
                finally:
                    assert not migrating.done()
                    await session.source.vm.monitor.execute("query-status")
                    await migrating
                    await session.stop()


HELD: dict[str, dict[str, Any]] = {
    "capture": {"faults": (Hold(select=Select(idx=(0,)), until=Until(told="go")),)},
    "tls": {
        "tls": Tls.PSK,
        "faults": (HoldConnections(accepted=1, until=Until(told="go")),),
    },
}


@as_root
@pytest.mark.parametrize("kind", HELD)
async def test_another_user_gets_nowhere_in_mid_migration(
    kind: str, everybodys: Path, qemu_src: Path
) -> None:
    session = Held(everybodys / "runs", qemu_src, **HELD[kind])
    folder, pids = session.rundir.path, []

    def attempt() -> None:
        pids.extend(session.pids)
        names = _names([os.getpid(), *pids])
        assert not [name for name, _ in names if name.startswith("@")], "open to every user"
        sockets = sorted(name for name, listens in names if listens and FOLDER in name)
        assert sockets == [str(folder / RELAY), DESTINATION], names

        # Without these nothing is proved: there it gets in.
        tries = ("list", ""), ("read", "file"), ("connect", "socket"), ("read", "/proc/net/unix")
        assert _as_nobody(*((way, everybodys / name) for way, name in tries)) == [""] * 4

        secret = [path for path in folder.rglob("*") if path.is_file()]
        expected = "tls/source/keys.psk" if kind == "tls" else ".migration.capture.new"
        assert folder / expected in secret
        secrets: list[tuple[str, Path | str]] = [
            *(("enter", path) for path in (folder, folder / FOLDER, everybodys / "runs")),
            *(("list", path) for path in (folder, folder / FOLDER)),
            *((way, path) for path in secret for way in ("read", "write")),
            ("make", folder / "mine"),
            ("make", folder / FOLDER / "mine"),
            ("make", everybodys / "runs" / "mine"),
            *(("connect", folder / name) for name in (DESTINATION, RELAY)),
            *(("connect", f"/proc/{pid}/cwd/{DESTINATION}") for pid in pids),
            *(("list", f"/proc/{pid}/fd") for pid in (os.getpid(), *pids)),
        ]
        said = _as_nobody(*secrets)
        got = list(zip(secrets, said, strict=True))
        assert set(said) == {"PermissionError"}, [each for each in got if each[1] != said[0]]
        # By the very names that everybody reads, and as abstract ones, as they once were.
        found = [("connect", path) for path in sockets] + [("abstract", path) for path in sockets]
        assert set(_as_nobody(*found)) <= {
            "PermissionError", "FileNotFoundError", "ConnectionRefusedError",
        }  # fmt: skip
        assert not _open_to_others(folder)

    await session.tried(attempt)
    assert len(pids) == 2
    assert not _open_to_others(folder)
    history = rundir.load(folder)
    statuses = [r.args["status"] for r in events(history) if r.name == "MIGRATION"]
    assert statuses.count("completed") == 2, "the attempts were not noticed"
    assert not [r for r in history.records if r.name == "stranger_refused"]
    assert not (folder / FOLDER).exists()
    assert not (folder / "tls").exists()
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert (folder / "history.jsonl") in kept
    assert (folder / "migration.capture" in kept) == (kind == "capture")
    assert set(_as_nobody(*(("read", path) for path in kept))) == {"PermissionError"}


@as_root
async def test_relay_that_another_user_reaches_all_the_same_closes_it(
    everybodys: Path, qemu_src: Path
) -> None:
    """By a mode that somebody has changed; it serves the source as before."""
    open_to_all = Held(everybodys / "runs", qemu_src, **HELD["capture"])
    folder = open_to_all.rundir.path

    def attempt() -> None:
        for path in (folder.parent, folder, folder / FOLDER, folder / RELAY):
            path.chmod(0o777)
        assert _as_nobody(("connect", folder / RELAY)) == [""]

    await open_to_all.tried(attempt)
    history = rundir.load(folder)
    (refused,) = held(history, StrangerRefused)
    assert refused.uid == NOBODY
    assert len(held(history, ChannelOpened)) == 5, "the source's, and no other"
    statuses = [r.args["status"] for r in events(history) if r.name == "MIGRATION"]
    assert statuses.count("completed") == 2


async def test_no_socket_of_a_run_has_an_abstract_name(results_dir: Path, qemu_src: Path) -> None:
    """Anybody connects to such a one: its name stands in /proc/net/unix."""
    session = Held(results_dir, qemu_src, **HELD["capture"])
    names = await session.tried(lambda: _names([os.getpid(), *session.pids]))
    assert {Path(name).name for name, listens in names if listens} >= {"destination", "relay"}
    assert not [name for name, _ in names if name.startswith("@")]


@pytest.mark.parametrize("transport", list(Transport))
def test_all_that_a_run_makes_is_private_and_a_report_is_as_the_user_shares(
    umask: None, tmp_path: Path, qemu_src: Path, transport: Transport
) -> None:
    has_capture = transport is not Transport.FILE
    over: dict[str, Any] = {"multifd": has_capture, "return_path": has_capture}
    device = msgspec.structs.replace(DEVICE, multifd_transfer=OnOffAuto.AUTO)
    wanted = Scenario(name="x", qemu=str(qemu_src), devices=(device,), transport=transport, **over)
    path, report, runs = tmp_path / "x.json", tmp_path / "report.html", tmp_path / "new" / "runs"
    path.write_bytes(to_json(wanted))
    argv = ["run", path, "--runs", runs, "--report", report, *["--capture"] * has_capture]
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", *map(str, argv)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not _open_to_others(tmp_path / "new")
    assert (runs / "x-0001" / "migration.capture").exists() == has_capture
    assert stat.S_IMODE(report.stat().st_mode) == 0o666


def test_run_directory_of_any_length_will_do(tmp_path: Path, qemu_src: Path) -> None:
    """A socket's path has 107 bytes; also for a second migration, of a QEMU that is there."""
    name = "a-name-of-some-length-" * 8
    same: dict[str, Any] = {"qemu": str(qemu_src), "relay": True, "devices": (DEVICE,)}
    wanted = Scenario(name=name, then=(Scenario(name=f"{name}-then", **same),), **same)
    path, runs = tmp_path / "x.json", Path("deep", *["runs-" * 20] * 3)
    path.write_bytes(to_json(wanted))
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", "run", str(path), "--runs", str(runs), "--json"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    made = sorted((tmp_path / runs).iterdir())
    assert len(made) == 2
    for folder in made:
        assert not list(folder.rglob(FOLDER))
        opened = [r for r in rundir.load(folder).records if r.name == "channel_opened"]
        assert len(opened) == 5
