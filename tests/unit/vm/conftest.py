"""Records, and programs that pass for a QEMU."""

import json
import sys
from typing import Any

import pytest

from harness.history import Body
from harness.vm.activity import Activity
from tests.unit.qmp_messages import MESSAGES

# Speaks QMP on the descriptor of its -chardev, as told by BEHAVIOUR.
PROGRAM = """\
#!{python} -IS
import json, os, signal, sys
behaviour = json.loads({behaviour!r})
if "--version" in sys.argv:
    print("QEMU emulator version " + behaviour["version"])
    sys.exit(0)
if "argv_into" in behaviour:
    with open(behaviour["argv_into"], "w") as file:
        json.dump(sys.argv[1:], file)
if "says" in behaviour:
    print(behaviour["says"], file=sys.stderr, flush=True)
if "exit" in behaviour:
    sys.exit(behaviour["exit"])
if "log" in behaviour:
    with open(sys.argv[sys.argv.index("-D") + 1], "w") as log:
        log.write(behaviour["log"])
from _socket import socket
(chardev,) = [arg for arg in sys.argv if arg.startswith("socket,id=qmp,fd=")]
talk = socket(fileno=int(chardev.rpartition("=")[2]))

{messages}
def send(**message):
    talk.sendall(json.dumps(message).encode() + b"\\r\\n")

if behaviour["greets"]:
    major, minor, micro = map(int, behaviour["version"].split("."))
    triple = dict(major=major, minor=minor, micro=micro)
    version = dict(qemu=triple, package=behaviour["package"])
    send(QMP=dict(version=version, capabilities=["oob"]))
for message in messages(talk):
    command = message.get("execute") or message["exec-oob"]
    if command in behaviour["deaf_to"]:
        continue
    if command in behaviour["dies_of"]:
        os.kill(os.getpid(), behaviour["dies_of"][command])
    number = {{"id": message["id"]}} if "id" in message else {{}}
    if command in behaviour["answers"]:
        send(**{{"return": behaviour["answers"][command]}}, **number)
    elif command in ("qmp_capabilities", "quit", "query-yank"):
        send(**{{"return": {{}}}}, **number)
    else:
        send(error={{"class": "CommandNotFound", "desc": "no " + command}}, **number)
    if command == "quit" and "quits_into" in behaviour:
        open(behaviour["quits_into"], "w").close()
    if command == "quit" and not behaviour["stays"]:
        sys.exit(behaviour["quits_with"])
signal.pause()  # as QEMU goes on without its monitor
"""


@pytest.fixture
def new_program(tmp_path):
    """Makes an executable file with this content."""

    def make(text, name="program"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def new_qemu(new_program):
    """Makes a program that behaves so (see PROGRAM)."""

    def make(**behaviour):
        defaults = {
            "version": "10.0.2",
            "package": "",
            "greets": True,
            "deaf_to": [],
            "dies_of": {},
            "answers": {},
            "quits_with": 0,
            "stays": False,
        }
        text = json.dumps(defaults | behaviour)
        return new_program(
            PROGRAM.format(python=sys.executable, messages=MESSAGES, behaviour=text), "qemu"
        )

    return make


@pytest.fixture
def records():
    return []


@pytest.fixture
def record(records):
    """Takes a record."""
    return records.append


@pytest.fixture
def named(records):
    """What all records of that type, or of QMP with that name, hold."""

    def find(which: type[Body] | str) -> list[Any]:
        name = which if isinstance(which, str) else which.NAME
        return [record.args for record in records if record.name == name]

    return find


@pytest.fixture
def activity():
    return Activity()
