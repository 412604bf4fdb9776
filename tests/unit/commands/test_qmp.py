"""``qmp``: commands one line at a time."""

import errno
import io
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harness.commands import qmp
from harness.errors import LostVM, UsageError
from harness.proxy.address import within_reach
from tests.unit.called import one_line

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
        status = qmp.converse(qemu.path, io.StringIO(commands), untils, timeout_s)
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
        def __next__(self) -> Any:
            raise error

    with pytest.raises(UsageError, match=f"cannot be read after line 0: {why}"):
        qmp.converse(Qemu(tmp_path).path, Broken(), (), 5.0)


def test_path_of_any_length_is_a_monitors(tmp_path):
    """A socket's own has at most 107 bytes (unix(7))."""
    folder = tmp_path / ("long-" * 40)
    folder.mkdir()
    with within_reach(folder / "qmp") as name:
        qemu = Qemu(folder, name)
    assert qmp.converse(folder / "qmp", io.StringIO("query-status\n"), (), 5.0) == 0
    assert [message["execute"] for message in qemu.heard] == ["query-status"]


def test_socket_that_nobody_listens_at_is_one_line(tmp_path):
    path = tmp_path / "qmp"
    gone = socket.socket(socket.AF_UNIX)
    gone.bind(str(path))
    gone.close()
    with pytest.raises(LostVM, match="no monitor listens there"):
        qmp.converse(path, io.StringIO(""), (), 1.0)


def test_monitor_that_does_not_appear_in_time_is_one_line(call, tmp_path, monkeypatch):
    monkeypatch.setattr(qmp, "_APPEAR_TIMEOUT_S", 0.2)
    status, _, err = call("qmp", tmp_path / "gone")
    assert status == 3
    assert str(tmp_path / "gone") in one_line(err)


@pytest.mark.parametrize("text", ["", "=completed", "MIGRATION=", "a b"])
def test_what_names_no_event_is_refused(call, text):
    status, _, err = call("qmp", "nowhere", f"--until={text}")
    assert status == 4
    assert f"'{text}' is not like MIGRATION or MIGRATION=completed" in one_line(err)
