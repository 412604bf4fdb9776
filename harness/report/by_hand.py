"""Renders ``by-hand.sh``: the same two QEMUs and QMP commands, without the harness.

Made from the history only: the command lines that were launched, and the QMP commands that were
sent.  The script replaces what belongs to the run (descriptors, folders, the socket of the
migration) by its own.
"""

import itertools
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from harness.history import Kind, Record, Side, plain, process
from harness.history.rundir import History
from harness.scenario import Scenario

_ENDED = ("completed", "failed", "cancelled")
_ASKING = ("query-", "qom-get", "device-list-properties", "trace-event-get-state")
_WORK = "@work@"
_DEVICES = '"${devices[@]}"'

# Relative to the script's folder, the working directory of all processes: the path of a socket is
# limited in length (unix(7)).
_SOCKET = {"transport": "socket", "type": "unix", "path": "sockets/migration"}
_TO_RELAY = {**_SOCKET, "path": "sockets/relay"}
_RELAY = """tied vfio-multifd relay --scenario "$here/scenario.json" \\
    --listen unix:sockets/relay --to unix:sockets/migration >"$work/relay.jsonl" &
pid[relay]=$!
until grep -qs listening "$work/relay.jsonl"; do
    kill -0 "${pid[relay]}" 2>/dev/null || exit 1
    sleep 0.1
done
"""

_CREDENTIALS = """# The run has removed its credentials: these are new ones of the same kind.
vfio-multifd credentials --scenario "$here/scenario.json" "$work/tls" || exit 3
"""
_GUEST = """until grep -qs 'guest: round 1:' "$work/source.console"; do
    kill -0 "${pid[source]}" 2>/dev/null || exit 1
    sleep 0.1
done
"""
_ROUNDS = """if [ "$went_well" = 1 ]; then
    until [ "$(grep -c '^guest: round' "$work/destination.console")" -ge 3 ]; do
        kill -0 "${pid[destination]}" 2>/dev/null || exit 1
        sleep 0.1
    done
    tail -n 3 "$work/source.console" "$work/destination.console"
    ! grep -q '^guest: round.*damaged' "$work"/*.console || went_well=0
fi
"""

_DESCRIPTORS = ("socket,id=qmp,", "socket,id=console,", "socket,id=qtest,")
"""Sockets of the harness, which QEMU inherits."""

_TEMPLATE = Path(__file__).with_suffix(".sh")


@dataclass(slots=True)
class _Step:
    """Commands sent to one side, and whether to wait for the migration's end after them."""

    side: Side
    commands: list[dict[str, Any]] = field(default_factory=list)
    waits: bool = False


def render(history: History) -> str:
    """The script for the run in ``history``."""
    script = _TEMPLATE.read_text()
    for mark, text in (
        ("%NAME%", " ".join(history.scenario.name.split())),
        ("%SOURCE%", _array(_argv(history.records, Side.SOURCE), Side.SOURCE)),
        ("%DESTINATION%", _array(_argv(history.records, Side.DESTINATION), Side.DESTINATION)),
        ("%MEANWHILE%", "\n".join(_meanwhile(history.scenario))),
        ("%CREDENTIALS%", _CREDENTIALS if history.scenario.has_tls else ""),
        ("%RELAY%", _RELAY if history.scenario.has_relay else ""),
        ("%GUEST%", _GUEST if history.scenario.guest is not None else ""),
        ("%ROUNDS%", _ROUNDS if history.scenario.guest is not None else ""),
        ("%STEPS%", "\n".join(map(_step_text, _steps(history)))),
    ):
        script = script.replace(mark, text)
    return script


def _meanwhile(scenario: Scenario) -> Iterator[str]:
    """Comments on what the harness did in the run, which the script repeats or does not."""
    if scenario.faults:
        yield "#"
        yield "# `vfio-multifd relay` between the two applies the faults of the run:"
        yield from (f"#     {fault.describe()}" for fault in scenario.faults)
    if any(device.interrupts.is_used for device in scenario.emulated):
        yield "#"
        yield "# In the run the harness also set MSI-X up, and devices fired interrupts; the script"
        yield "# does not repeat it."
    if scenario.actions:
        yield "#"
        yield "# In the run the harness also did this; the script does not repeat it:"
        yield from (f"#     {action.describe()}" for action in scenario.actions)


# -- command lines -----------------------------------------------------------------------


def _argv(records: Sequence[Record], side: Side) -> list[str]:
    for record in records:
        if record.side is side and isinstance(record.args, process.Launched):
            return record.args.argv
    return []


def _array(argv: list[str], side: Side) -> str:
    """``argv`` as lines of a bash array: an option and its value on one line."""
    folder = _run_folder(argv)
    lines: list[str] = []
    has_devices = False
    for words in _options(argv):
        match words:
            case ("-chardev", value) if value.startswith(_DESCRIPTORS):
                continue
            case ("-object", value) if value.startswith("qtest,"):
                continue
            case ("-serial", "chardev:console"):
                line = f'-serial "file:$work/{side}.console"'
            case ("-mon", _) | ("-object", "monitor-qmp,id=monitor,chardev=qmp"):
                line = f"-qmp unix:sockets/{side},server=on,wait=off"
            case ("-object" | "-device", value) if value.startswith(("iommufd,", "vfio-pci,")):
                if has_devices:
                    continue
                line, has_devices = _DEVICES, True
            case ("-D", _):
                line = f'-D "$work/{side}-trace/%d.log"'
            case _:
                line = " ".join(_quoted(word, folder) for word in words)
        lines.append(f"    {line}")
    return "\n".join(lines)


def _options(argv: list[str]) -> list[tuple[str, ...]]:
    """The program, then each option with its value."""
    found: list[tuple[str, ...]] = []
    for word in argv:
        is_value = found and found[-1][0].startswith("-") and len(found[-1]) == 1
        if is_value and not word.startswith("-"):
            found[-1] = (*found[-1], word)
        else:
            found.append((word,))
    return found


def _run_folder(argv: list[str]) -> str:
    """The run directory: QEMU's firmware is in it."""
    for option, value in itertools.pairwise(argv):
        if option == "-bios":
            return str(PurePath(value).parent)
    return ""


def _quoted(word: str, folder: str) -> str:
    """``word`` for bash; a file of the run directory is in the folder of the script."""
    if folder and word.startswith(f"{folder}/"):
        return f'"$here"/{shlex.quote(word.removeprefix(f"{folder}/"))}'
    return shlex.quote(word)


# -- QMP commands ------------------------------------------------------------------------


def _steps(history: History) -> list[_Step]:
    """The commands of both sides in their order, without queries.

    A side's commands before the first ``migrate`` or ``migrate-incoming`` are kept together: their
    order between the sides was chance.
    """
    records = history.records
    sent = [record for record in records if _is_command(record)]
    pending: dict[Side, list[dict[str, Any]]] = {Side.DESTINATION: [], Side.SOURCE: []}
    steps: list[_Step] = []
    begun = False
    where: dict[str, Any] = next(
        (plain(r)["arguments"] for r in sent if plain(r)["command"] == "migrate"), {}
    )
    for number, record in enumerate(sent):
        command = plain(record)["command"]
        begun = begun or command in ("migrate", "migrate-incoming")
        pending[record.side].append(_command(record, where, history.scenario.has_relay))
        if not begun:
            continue
        if not steps or steps[-1].side is not record.side or steps[-1].waits:
            steps.append(_Step(record.side))
        steps[-1].commands += pending[record.side]
        pending[record.side] = []
        if command == "migrate":
            following = sent[number + 1].t_ns if number + 1 < len(sent) else None
            steps[-1].waits = following is None or _has_ended(records, record.t_ns, following)
    return steps + [_Step(side, commands) for side, commands in pending.items() if commands]


def _is_command(record: Record) -> bool:
    if record.kind is not Kind.QMP or record.name != "execute":
        return False
    command = str(plain(record).get("command", ""))
    return command != "quit" and not command.startswith(_ASKING)


def _has_ended(records: Sequence[Record], after_ns: int, before_ns: int) -> bool:
    """Whether the source's migration ended between these times."""
    return any(
        record.name == "MIGRATION"
        and record.side is Side.SOURCE
        and after_ns < record.t_ns < before_ns
        and plain(record).get("status") in _ENDED
        for record in records
    )


def _command(record: Record, where: dict[str, Any], has_relay: bool) -> dict[str, Any]:
    """The command as the script sends it; ``where``: arguments of the source's ``migrate``."""
    args = plain(record)
    name, arguments = args["command"], args.get("arguments", {})
    if name == "object-add" and "dir" in arguments:
        arguments = {**arguments, "dir": f"{_WORK}/tls/{record.side}"}
    if name in ("migrate", "migrate-incoming"):
        # The destination listened on any port; the source knew which.
        channels = where.get("channels") or arguments.get("channels", [])
        socket = _TO_RELAY if has_relay and name == "migrate" else _SOCKET
        ours = [
            {**channel, "addr": socket if has_relay else _address(channel["addr"])}
            for channel in channels
        ]
        arguments = {**arguments, "channels": ours}
    return {"execute": name, **({"arguments": arguments} if arguments else {})}


def _address(addr: dict[str, Any]) -> dict[str, Any]:
    """``addr`` with the script's own names instead of the run's."""
    if addr.get("transport") == "file":
        return {**addr, "filename": f"{_WORK}/migration.stream"}
    if addr.get("type") == "unix":
        return _SOCKET
    return addr


def _step_text(step: _Step) -> str:
    options = ' "${ended[@]}"' if step.waits else ""
    lines = [json.dumps(command) for command in step.commands]
    text = "\n".join(lines).replace("\\", "\\\\").replace("$", "\\$").replace("`", "\\`")
    text = text.replace(_WORK, "$work")
    return f'echo "== {step.side}"\nqmp {step.side}{options} <<END || went_well=0\n{text}\nEND\n'
