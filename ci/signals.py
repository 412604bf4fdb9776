"""Signals at random moments: checks that one signal ends each command in time and cleanly.

    .venv/bin/python -m ci.signals --moments 200 run
    .venv/bin/python -m ci.signals --moments 20            # all commands except the rig's
    .venv/bin/python -m ci.signals --moments 10 rig        # starts a virtual machine each time

Each command first runs to its end, which gives its duration.  Then it is started repeatedly and
gets SIGINT or SIGTERM after a random part of that duration.  Half of the SIGINTs go to its process
group, as from a terminal; in half of the tries a second signal follows.  Checked are the time from
the signal to the end, the exit status, standard error, processes, and files outside the run
directories.  A signal before Python runs the first line of the harness is handled by Python: such
tries are counted separately.  --busy N keeps N processors busy meanwhile.  Exit status: 0 all tries
passed, 1 one failed.
"""

import argparse
import contextlib
import os
import random
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import harness
from harness import interrupt
from harness.scenario import MIB, EmulatedDevice, Scenario, Tls, Transport, to_json
from harness.scenario.fault_plan import Order, Reorder
from harness.vm import builds

LIMIT_S = 2.0
_TOKEN = "VFIO_MULTIFD_SIGNALS"
_PYTHON = (sys.executable, "-m", "harness.cli")
_ROOT = Path(__file__).resolve().parents[1]
_WAIT_S = 60.0
_ENDED = {signal.SIGINT: 130, signal.SIGTERM: 143}

_PACKAGE = Path(harness.__file__).parent
"""A traceback without a line of this folder belongs to the start of Python."""


@dataclass(frozen=True)
class Try:
    """One command that was signalled.

    :ivar took_s: from the signal to the end
    :ivar phase: ``before`` the harness started, ``during``, or ``after`` the command had ended
    :ivar wrong: what failed.  Empty if nothing did
    """

    number: signal.Signals
    moment_s: float
    took_s: float
    phase: str
    wrong: tuple[str, ...]
    said: str


@dataclass
class Place:
    """The scenarios and runs that the commands use, in a temporary folder."""

    folder: Path
    qemu: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def runs(self) -> Path:
        """The folder of run directories."""
        return self.folder / "runs"

    @property
    def kept(self) -> Path:
        """Runs that are judged and shown by commands."""
        return self.folder / "kept"

    def prepare(self) -> None:
        """Make scenarios and runs."""
        temporary = self.folder / "tmp"
        temporary.mkdir()
        self.environment = {**os.environ, _TOKEN: str(self.folder), "TMPDIR": str(temporary)}
        device = EmulatedDevice(id="vfio0", size=4 * MIB)
        reordered = (Reorder(order=Order.REVERSED),)
        plain = Scenario(name="plain", devices=(device,), relay=True, faults=reordered)
        secured = Scenario(name="tls", devices=(device,), tls=Tls.X509, transport=Transport.TCP)
        followed = Scenario(
            name="first", devices=(device,), then=(Scenario(name="second", devices=(device,)),)
        )
        blocked = EmulatedDevice(id="vfio0", stop_copy=False)
        refused = Scenario(name="refused", devices=(blocked,))
        for scenario in (plain, secured, followed, refused):
            (self.folder / f"{scenario.name}.json").write_bytes(to_json(scenario))
        tree = self.folder / "tree" / "build"
        tree.mkdir(parents=True)
        (tree / self.qemu.name).symlink_to(self.qemu)
        done = self.start("run", "--capture", "--qemu", str(self.qemu), "--runs", str(self.kept),
                          str(self.folder / "plain.json"))  # fmt: skip
        _, output = done.communicate()
        if done.returncode not in (0, 1, 2):
            sys.exit(f"signals: preparation failed: {output.decode()}")

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        """Start a command."""
        return subprocess.Popen(
            [*_PYTHON, *argv],
            cwd=_ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def clean(self) -> None:
        """Remove the files of the last try."""
        for path in (self.runs, self.folder / "new"):
            shutil.rmtree(path, ignore_errors=True)

    def left_behind(self) -> Iterator[str]:
        """Processes and files that should not exist."""
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"{_TOKEN}={self.folder}".encode() in (path / "environ").read_bytes().split(
                    b"\0"
                ):
                    name = (path / "comm").read_text().strip()
                    yield f"process {path.name} ({name}) is left behind"
                    os.kill(int(path.name), signal.SIGKILL)
        for path in (self.folder / "tmp").iterdir():
            yield f"{path.name} is left behind in TMPDIR"
        for name in ("tls", "sockets"):
            for path in self.runs.glob(f"**/{name}"):
                yield f"{path} is left behind"


def commands(place: Place) -> dict[str, tuple[str, ...]]:
    """The command lines of all commands, by name."""
    kept, runs = str(place.kept / "plain-0001"), ("--runs", str(place.runs))
    qemu = ("--qemu", str(place.qemu))
    plain = str(place.folder / "plain.json")
    new = str(place.folder / "new")
    files = [str(place.folder / f"{name}.json") for name in ("plain", "tls", "first", "refused")]
    reports = [f"--report={place.runs}/report.{kind}" for kind in ("html", "xml")]
    device = ("-M", "q35", "-nodefaults", "-display", "none", "-S", "@devices@")
    return {
        "run": ("run", "--jobs", "1", *files, *qemu, *runs, *reports),
        "jobs": ("run", "--jobs", "4", *files, *files, *qemu, *runs, *reports),
        "check": ("check", *files, *qemu),
        "replay": ("replay", f"{kept}/migration.capture", *qemu, *runs),
        "recheck": ("recheck", kept, kept, f"--report={place.runs}/report.html"),
        "compare": ("compare", kept, kept),
        "measure": ("measure", "--rounds", "20", "channels=1", "channels=2", *qemu, *runs),
        "repro": ("repro", "set-9-no-return-path", "ref-11-empty-device-state-packet", *qemu,
                  *runs),
        "bisect": ("bisect", "ORD-1", "--tree", str(place.folder / "tree"), "--build", "sleep 1",
                   "--scenario", plain, *runs),
        "show": ("show", f"{kept}/migration.capture"),
        "export": ("export", kept, "-o", f"{place.runs}/trace.json"),
        "serve": ("serve", "--scenario", plain, "--side", "source", "--", str(place.qemu),
                  *device),
        "relay": ("relay", "--listen", "tcp:127.0.0.1:0", "--to", "tcp:127.0.0.1:1"),
        "qmp": ("qmp", f"{new}/none"),
        "credentials": ("credentials", "--scenario", str(place.folder / "tls.json"), new),
        "qemu-list": ("qemu", "list"),
        "qemu-fetch": ("qemu", "fetch", "debian-13"),
        "doctor": ("doctor", *qemu, *runs),
        "rig": ("rig", "run", *runs, "--", "sleep", "5"),
        "rig-mdev": ("run", "--device", "mdev", *qemu, *runs),
    }  # fmt: skip


LOOKED_AT_S = {"serve": 2.0, "relay": 1.0, "measure": 10.0}
"""For how long to run commands that end by a signal only, or take long."""
SLOW = ("rig", "rig-mdev")


def length(place: Place, name: str) -> float:
    """The duration of the command without a signal."""
    if name in LOOKED_AT_S:
        return LOOKED_AT_S[name]
    place.clean()
    began = time.monotonic()
    with place.start(*commands(place)[name]) as process:
        process.communicate()
    return time.monotonic() - began


def signalled(place: Place, name: str, moment_s: float, chance: random.Random) -> Try:
    """Start the command, send it a signal after ``moment_s``, and check it."""
    place.clean()
    place.runs.mkdir(exist_ok=True)
    number = chance.choice([signal.SIGINT, signal.SIGTERM])
    process = place.start(*commands(place)[name])
    gone = os.pidfd_open(process.pid)
    poll = select.poll()
    poll.register(gone, select.POLLIN)
    try:
        is_after = bool(poll.poll(moment_s * 1000))
        began = time.monotonic()
        if number is signal.SIGINT and chance.random() < 0.5:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        sent = {number}
        if chance.random() < 0.5 and not poll.poll(chance.random() * 300):
            second = chance.choice([signal.SIGINT, signal.SIGTERM])
            process.send_signal(second)
            sent.add(second)  # Python handles the lower of two pending signals first
        has_ended = bool(poll.poll(_WAIT_S * 1000))
        took_s = time.monotonic() - began
    finally:
        os.close(gone)
        process.kill()
        _, output = process.communicate()
    said = output.decode(errors="backslashreplace")
    wrong = list(place.left_behind())
    if is_after:
        return Try(number, moment_s, 0.0, "after", tuple(wrong), said)
    is_before = process.returncode == -number or (
        number is signal.SIGINT and "Traceback" in said and f'File "{_PACKAGE}/' not in said
    )
    if not has_ended:
        wrong.append(f"it did not end within {_WAIT_S:g} s")
    elif took_s > LIMIT_S * (interrupt.BUSY if interrupt.is_busy() else 1):
        wrong.append(f"it took {took_s:.2f} s")
    if not is_before:
        # The command may have ended at the same moment.
        if process.returncode not in (*(_ENDED[each] for each in sent), 0, 1, 2, 3):
            wrong.append(f"exit status {process.returncode} after {number.name}")
        if "Traceback" in said or "Exception ignored" in said:
            wrong.append("a traceback")
        if "took longer than" in said:
            wrong.append("the clean-up was cut short")
    phase = "before" if is_before else "during"
    if process.returncode in (0, 1, 2, 3) and not is_before:
        phase = "after"
    return Try(number, moment_s, took_s, phase, tuple(wrong), said)


def tries(
    place: Place, name: str, moments: int, seed: int, say: Callable[[str], None]
) -> list[Try]:
    """``moments`` tries of the command; failures are printed."""
    chance = random.Random(f"{seed} {name}")
    length_s = length(place, name)
    found = []
    for _ in range(moments):
        found.append(signalled(place, name, chance.random() * length_s * 1.02, chance))
        last = found[-1]
        if last.wrong:
            say(f"{name}: {last.number.name} after {last.moment_s:.3f} s: {'; '.join(last.wrong)}")
            say(f"    {last.said.strip()[-2000:]}")
    place.clean()
    phases = [each.phase for each in found]
    took = [each.took_s for each in found if each.phase == "during"] or [0.0]
    say(
        f"{name} ({length_s:.1f} s): {moments} moments, {phases.count('during')} during, "
        f"{phases.count('before')} before the harness started, {phases.count('after')} after its "
        f"end; ended after {statistics.median(took):.2f} s, at most {max(took):.2f} s; "
        f"{sum(bool(each.wrong) for each in found)} failed"
    )
    return found


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep ``count`` processors busy."""
    burners = [
        subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "sh", "-c", "while :; do :; done"])
        for _ in range(count)
    ]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tries and return the exit status."""
    parser = argparse.ArgumentParser(prog="signals", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("commands", nargs="*", metavar="COMMAND")
    parser.add_argument(
        "--moments", type=int, default=20, metavar="N", help="number of tries of each command"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument(
        "--busy", type=int, default=0, metavar="N", help="number of busy processors"
    )
    parser.add_argument("--qemu", default="", metavar="NAME|PATH")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="vfio-multifd-signals-") as folder, busy(options.busy):
        place = Place(Path(folder), builds.find(options.qemu))
        place.prepare()
        known = commands(place)
        names = options.commands or [name for name in known if name not in SLOW]
        if unknown := [name for name in names if name not in known]:
            parser.error(f"{unknown[0]}: unknown command, choose from {', '.join(known)}")
        wrong = 0
        for name in names:
            found = tries(place, name, options.moments, options.seed, _say)
            wrong += sum(bool(each.wrong) for each in found)
    return 1 if wrong else 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
