"""Work by hand: any program under the supervisor, and QMP one line at a time."""

import errno
import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from harness import by_hand
from harness.errors import LostVM, PrerequisiteMissing, UsageError
from harness.history import Side
from harness.proxy.address import within_reach
from harness.scenario import EmulatedDevice, Scenario

SCENARIO = Scenario(name="x", devices=(EmulatedDevice(id="vfio0", size=4096),))
RESET = 0x3B << 8 | 111  # VFIO_DEVICE_RESET


def serve(*argv: str, side: Side = Side.SOURCE) -> tuple[int, str]:
    out = io.StringIO()
    return by_hand.serve(SCENARIO, side, argv, out), out.getvalue()


# -- serve -------------------------------------------------------------------------------


def test_devices_take_the_place_of_their_mark(capfd):
    status, told = serve("echo", "before", by_hand.DEVICES, "after")
    words = capfd.readouterr().out.split()
    assert status == 0
    assert (words[0], words[-1]) == ("before", "after")
    assert [word.partition(",")[0] for word in words[1:-1]] == [
        "-object", "iommufd", "-device", "vfio-pci",
    ]  # fmt: skip
    assert told == "source vfio0: states: RUNNING\n"


def test_program_gets_the_answers_of_the_device():
    program = (
        "import fcntl, re, sys; "
        "fd = int(re.search(r'vfio-pci.*?,fd=(\\d+)', ' '.join(sys.argv))[1]); "
        f"fcntl.ioctl(fd, {RESET})"
    )
    assert serve(sys.executable, "-c", program, by_hand.DEVICES)[0] == 0


def test_exit_status_is_the_programs():
    assert serve("sh", "-c", "exit 7", by_hand.DEVICES)[0] == 7


def test_monitor_and_what_else_it_makes_are_the_users_alone(tmp_path):
    """To connect to a socket one must be allowed to write to it (unix(7))."""
    program = (
        "import os, socket, sys; os.chdir(sys.argv[1]); open('trace', 'w'); "
        "socket.socket(socket.AF_UNIX).bind('monitor')"
    )
    before = os.umask(0)
    try:
        assert serve(sys.executable, "-c", program, str(tmp_path), by_hand.DEVICES)[0] == 0
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"trace": 0o600, "monitor": 0o700}


def test_signal_that_ended_it_is_told_as_a_shell_does():
    assert serve("sh", "-c", "kill -9 $$", by_hand.DEVICES)[0] == 128 + 9


SERVE = """
import io, sys
from harness import by_hand, interrupt
from harness.history import Side
from harness.scenario import EmulatedDevice, Scenario
interrupt.install()
scenario = Scenario(name="x", devices=(EmulatedDevice(id="vfio0", size=4096),))
out = io.StringIO()
status = by_hand.serve(scenario, Side.SOURCE, sys.argv[1:], out)
print(out.getvalue(), end="")
sys.exit(status)
"""


@pytest.mark.parametrize(("trap", "number"), [("", 15), ("trap '' TERM;", 9)])
def test_sigterm_ends_the_program_even_one_that_hangs(trap, number):
    # Each of the two has a pipe of its own: in one, their lines may come mixed.
    script = f"{trap} echo up >&2; while :; do sleep 0.1; done"
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, "sh", "-c", script, by_hand.DEVICES],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as serving:
        try:
            assert serving.stderr.readline() == "up\n"
            serving.terminate()
            told, _ = serving.communicate(timeout=30)
        finally:
            serving.kill()  # its program dies with it
    assert serving.returncode == 128 + number
    assert told == "source vfio0: states: RUNNING\n"


def test_command_line_without_a_place_for_devices_is_refused():
    with pytest.raises(UsageError, match="@devices@"):
        serve("true")


def test_program_that_is_not_there_is_named():
    with pytest.raises(PrerequisiteMissing, match="/no/such/qemu"):
        serve("/no/such/qemu", by_hand.DEVICES)


# -- qmp ---------------------------------------------------------------------------------

VERSION = {"qemu": {"major": 10, "minor": 0, "micro": 0}, "package": ""}
GREETING: dict[str, object] = {"QMP": {"version": VERSION, "capabilities": []}}
STAMP = {"seconds": 1, "microseconds": 0}


def event(name: str, **data: str) -> dict[str, object]:
    return {"event": name, "data": data, "timestamp": STAMP}


class Qemu:
    """A monitor that answers each command with what ``answers`` has for it."""

    def __init__(self, folder: Path, bound: str = "", **answers: list[dict[str, object]]) -> None:
        self.path = folder / "qmp"
        self.heard: list[dict[str, object]] = []
        self._answers = answers
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(bound or str(self.path))
        self._server.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with self._server:
            connection, _ = self._server.accept()
        with connection:
            self._say(connection, GREETING)
            pending = ""
            while data := connection.recv(65536):
                pending += data.decode()  # qemu.qmp ends no line
                while pending.strip():
                    message, end = json.JSONDecoder().raw_decode(pending)
                    pending = pending[end:].lstrip()
                    if not self._answer(connection, message):
                        return

    def _answer(self, connection: socket.socket, message: dict[str, object]) -> bool:
        """False: QEMU goes away."""
        name = str(message["execute"])
        number = {"id": message["id"]} if "id" in message else {}
        if name != "qmp_capabilities":
            self.heard.append(message)
        for answer in self._answers.get(name.replace("-", "_"), [{"return": {}}]):
            if answer == {"bye": True}:
                return False
            self._say(connection, {**answer, **({} if "event" in answer else number)})
        return True

    @staticmethod
    def _say(connection: socket.socket, message: dict[str, object]) -> None:
        connection.sendall(json.dumps(message).encode() + b"\r\n")


class Asked(NamedTuple):
    status: int
    heard: list[dict[str, object]]
    said: list[dict[str, object]]


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Asked]:
    def ask(commands: str, *untils: str, timeout_s: float = 5.0, **answers) -> Asked:
        qemu = Qemu(tmp_path, **answers)
        status = by_hand.converse(qemu.path, io.StringIO(commands), untils, timeout_s)
        said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return Asked(status, qemu.heard, said)

    return ask


def test_commands_are_sent_in_order_and_replies_printed(ask):
    lines = '{"execute": "migrate", "arguments": {"uri": "x"}}\n\nquery-status\n'
    asked = ask(lines, query_status=[{"return": {"status": "running"}}])
    assert asked.status == 0
    assert [(m["execute"], m.get("arguments")) for m in asked.heard] == [
        ("migrate", {"uri": "x"}),
        ("query-status", {}),
    ]
    assert asked.said == [{"return": {}}, {"return": {"status": "running"}}]


def test_refused_command_is_printed_and_told_by_the_exit_status(ask):
    refusal = {"error": {"class": "GenericError", "desc": "no"}}
    asked = ask("migrate\nquery-status", "RESUME", migrate=[refusal])
    assert asked.status == 1
    assert asked.said == [refusal, {"return": {}}], "it goes on, and waits for nothing"


def test_it_waits_for_the_event(ask):
    answers = [{"return": {}}, event("MIGRATION", status="active"), event("RESUME")]
    asked = ask("migrate", "RESUME", migrate=answers)
    assert asked.status == 0
    assert [m["event"] for m in asked.said if "event" in m] == ["MIGRATION", "RESUME"]


def test_status_of_an_event_tells_it_from_others_of_its_name(ask):
    answers = [{"return": {}}, event("MIGRATION", status="active")]
    with pytest.raises(LostVM, match=r"0\.3 s passed before MIGRATION=completed"):
        ask("migrate", "MIGRATION=completed", timeout_s=0.3, migrate=answers)


def test_migration_that_is_over_already_is_not_waited_for(ask):
    over = [{"return": {"status": "completed"}}]
    asked = ask("", "MIGRATION=completed", query_migrate=over)
    assert asked.status == 0
    assert asked.said == [], "a question of its own is not printed"


def test_qemu_that_goes_away_is_told_at_once(ask):
    with pytest.raises(LostVM, match="went away"):
        ask("migrate", timeout_s=60, migrate=[{"bye": True}])


def test_qemu_that_goes_away_while_waiting_is_told_at_once(ask):
    with pytest.raises(LostVM, match="QEMU went away before RESUME"):
        ask("migrate", "RESUME", timeout_s=60, migrate=[{"return": {}}, {"bye": True}])


@pytest.mark.parametrize(
    "line",
    [
        '{"execute": ',
        '{"arguments": {}}',
        '{"execute": 3}',
        "\udcff",
        '{"execute": "x", "arguments": {"a": NaN}}',
        '{"execute": "x", "arguments": {"a": 1e999}}',
        '{"execute": "\\ud800"}',
        '{"a":' * 100_000,
    ],
)
def test_line_that_is_no_command_is_named(ask, line):
    with pytest.raises(UsageError, match="line 2"):
        ask(f"query-status\n{line}\n")


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "not UTF-8"),
        (IsADirectoryError(errno.EISDIR, "Is a directory"), "Is a directory"),
    ],
)
def test_input_that_cannot_be_read_is_told_and_not_waited_for(tmp_path, error, why):
    class Broken(io.StringIO):
        def __next__(self) -> str:
            raise error

    with pytest.raises(UsageError, match=f"cannot be read after line 0: {why}"):
        by_hand.converse(Qemu(tmp_path).path, Broken(), (), 5.0)


def test_path_of_any_length_is_a_monitors(tmp_path):
    """A socket's own has at most 107 bytes (unix(7))."""
    folder = tmp_path / ("long-" * 40)
    folder.mkdir()
    with within_reach(folder / "qmp") as name:
        qemu = Qemu(folder, name)
    assert by_hand.converse(folder / "qmp", io.StringIO("query-status\n"), (), 5.0) == 0
    assert [message["execute"] for message in qemu.heard] == ["query-status"]


def test_socket_that_nobody_listens_at_is_one_line(tmp_path):
    path = tmp_path / "qmp"
    gone = socket.socket(socket.AF_UNIX)
    gone.bind(str(path))
    gone.close()
    with pytest.raises(LostVM, match="no monitor is there"):
        by_hand.converse(path, io.StringIO(""), (), 1.0)
