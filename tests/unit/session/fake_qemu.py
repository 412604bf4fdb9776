"""A program that passes for a QEMU without devices, and migrates over a unix socket.

It is a process of its own with a monitor on the descriptor that it is given, so that launch,
monitor, hand-over and end are the harness's own.  BEHAVIOUR says what it does otherwise: dies
of a command, is deaf to one, refuses one, does not start.
"""

import json
import sys
from pathlib import Path
from typing import Any

from tests.unit.qmp_messages import MESSAGES

PROGRAM = """\
#!{python} -IS
import json, os, signal, sys, threading
behaviour = json.loads({behaviour!r})
if "--version" in sys.argv:
    print("QEMU emulator version " + behaviour["version"])
    sys.exit(0)
is_probe = "none" in sys.argv[sys.argv.index("-machine") + 1]
if "refuses_to_start" in behaviour and not is_probe:
    print(behaviour["refuses_to_start"], file=sys.stderr)
    sys.exit(1)
import socket
(chardev,) = [arg for arg in sys.argv if arg.startswith("socket,id=qmp,fd=")]
talk = socket.socket(fileno=int(chardev.rpartition("=")[2]))
lock = threading.RLock()
parameters = {{"downtime-limit": 300}}
is_running = "-incoming" not in sys.argv

{messages}
def send(**message):
    with lock:
        talk.sendall(json.dumps(message).encode() + b"\\r\\n")

def event(name, **data):
    send(event=name, data=data, timestamp=dict(seconds=1, microseconds=0))

def status(name):
    if name not in behaviour["never"]:
        event("MIGRATION", status=name)

def run(is_to):
    global is_running
    is_running = is_to
    event("RESUME" if is_to else "STOP")

def load(listener):
    connection, _ = listener.accept()
    listener.close()
    status("active")
    data = connection.recv(9)
    if data != b"the state":
        status("failed")
        os._exit(1)
    with lock:  # nothing is answered in between, as by a QEMU whose main loop does both
        run(True)
        status("completed")

def save(path):
    status("active")
    if "active" in behaviour["stays"]:
        return
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(path)
    if "fails" in behaviour:
        stream.close()
        status("failed")
        return
    run(False)
    stream.sendall(b"the state")
    status("completed")

def do(command, arguments):
    if command == "migrate-incoming":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(arguments["channels"][0]["addr"]["path"])
        listener.listen()
        status("setup")
        threading.Thread(target=load, args=(listener,), daemon=True).start()
    elif command == "migrate":
        status("setup")
        path = arguments["channels"][0]["addr"]["path"]
        threading.Thread(target=save, args=(path,), daemon=True).start()
    elif command == "migrate-set-parameters":
        parameters.update(arguments)
    elif command == "query-migrate-parameters":
        return parameters
    elif command == "query-status":
        return dict(running=is_running, status="running" if is_running else "paused")
    elif command == "cont":
        run(True)
    return {{}}

version = dict(zip(("major", "minor", "micro"), map(int, behaviour["version"].split("."))))
send(QMP=dict(version=dict(qemu=version, package=""), capabilities=["oob"]))
KNOWN = (
    "qmp_capabilities", "quit", "query-yank", "migrate-set-capabilities", "migrate-incoming",
    "migrate", "migrate-set-parameters", "query-migrate", "query-migrate-parameters",
    "query-status", "cont",
)
for message in messages(talk):
    command = message.get("execute") or message["exec-oob"]
    if command in behaviour["deaf_to"]:
        continue
    if command in behaviour["dies_of"]:
        os.kill(os.getpid(), signal.SIGKILL)
    number = {{"id": message["id"]}} if "id" in message else {{}}
    if command in behaviour["refuses"]:
        send(error={{"class": "GenericError", "desc": behaviour["refuses"][command]}}, **number)
    elif command in behaviour["answers"]:
        send(**{{"return": behaviour["answers"][command]}}, **number)
    elif command in KNOWN:
        send(**{{"return": do(command, message.get("arguments", {{}}))}}, **number)
    else:
        send(error={{"class": "CommandNotFound", "desc": "no " + command}}, **number)
    if command == "quit":
        os._exit(0)
"""

ANSWERS = {
    "query-machines": [{"name": "q35"}],
    "qom-list-types": [{"name": "tcg-accel"}],
    "query-migrate-capabilities": [],
}


def write(path: Path, **behaviour: Any) -> Path:
    """Write the program to ``path``; it behaves so."""
    defaults = {
        "version": "10.0.2",
        "deaf_to": [],
        "dies_of": [],
        "refuses": {},
        "never": [],
        "stays": [],
        "answers": {**ANSWERS, **behaviour.pop("answers", {})},
    }
    text = json.dumps(defaults | behaviour)
    path.write_text(PROGRAM.format(python=sys.executable, messages=MESSAGES, behaviour=text))
    path.chmod(0o755)
    return path
