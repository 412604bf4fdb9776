"""A bad scenario is refused before a QEMU is started for it, in one line that names the field.

``check`` says the same of a file as ``run``; a real build says which names it has.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.vm import builds

DEVICE: dict[str, Any] = {"kind": "emulated", "id": "vfio0", "data_path": "supervised"}
KILL: dict[str, Any] = {"action": "kill", "target": "source"}


def _device(**fields: Any) -> dict[str, Any]:
    return {"devices": [{**DEVICE, **fields}]}


def _at(**when: Any) -> dict[str, Any]:
    return {"actions": [{**KILL, "when": when}]}


def _fault(name: str, **fields: Any) -> dict[str, Any]:
    return {"faults": [{"fault": name, **fields}]}


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "no devices": ({"devices": []}, "devices has 0, not 1 to 29"),
    "machine": ({"machine": "q53"}, "machine is 'q53': "),
    "machine without PCI": ({"machine": "none"}, "machine is 'none': it has no PCI bus"),
    "field": ({"cpu": "host"}, "unknown field cpu"),
    "event": (_at(name="MIGRATON"), "when.name is 'MIGRATON': no QMP event; did you mean MIGRATI"),
    "status": (_at(args={"status": "actve"}), "when.args.status is 'actve': unknown; did you mean"),
    "record": (_at(kind="device", name="wirte"), "no record of device; did you mean write?"),
    "told": (_fault("hold", until={"told": "switchovr"}), "until.told is 'switchovr'"),
    "pattern": ({"trace": ["vfio_*", "multfd_*"]}, "trace[1] is 'multfd_*'"),
    "id": (_device(id="0vfio"), "devices[0].id is '0vfio'"),
    "size": (_device(size=-1), "devices[0].size is -1"),
    "size beyond all": (_device(size=1 << 63), "devices[0].size is 9223372036854775808"),
    "BAR": (_device(bar_size=1 << 40), "devices[0].bar_size is 1099511627776"),
    "delay": (_device(save={"read_delay_s": -1}), "devices[0].save.read_delay_s is -1"),
    "seed": ({"seed": -1}, "seed is -1"),
    "RAM": ({"ram_mib": 10**9}, "ram_mib is 1000000000"),
    "channel": (_fault("drop", select={"channel": 4}), "select.channel is 4, but channels is 4"),
    "deadline": ({"deadline_s": 1e-9}, "deadline_s is 1e-09"),
    "slow device": (
        {"deadline_s": 5, **_device(size=16 << 20, save={"read_delay_s": 1})},
        "deadline_s is 5: vfio0 needs 16 s for 16 reads",
    ),
    "return path of a file": ({"transport": "file"}, "return_path is true and transport is 'file'"),
    "events": ({"capabilities": {"events": False}}, "capabilities.events is false"),
    "both ways": ({"capabilities": {"multifd": False}}, "capabilities.multifd is false: multifd"),
    "property": (_device(properties={"addr": "5"}), "devices[0].properties.addr is '5': the har"),
    "property's value": (_device(properties={"x-no-mmap": "maybe"}), "x-no-mmap is 'maybe', not"),
    "property's name": (_device(properties={"x-no-mmpa": "on"}), "did you mean x-no-mmap?"),
}
OF_A_BUILD = ("machine", "event", "status", "pattern", "property's value")


@pytest.fixture
def qemu(tmp_path: Path, qemu_src: Path) -> Path:
    """The build under test, which notes each command line."""
    binary = tmp_path / "qemu"
    binary.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/started\nexec {qemu_src} "$@"\n')
    binary.chmod(0o755)
    return binary


def _harness(command: str, qemu: Path, qemu_src: Path, *argv: str) -> tuple[int, str, str]:
    trace_events = str(builds.trace_events_path(qemu_src))
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", command, "--qemu", str(qemu),
         "--trace-events", trace_events, *argv],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def _started(qemu: Path) -> list[str]:
    """Command lines of QEMUs that are more than a question to the build."""
    log = qemu.with_name("started")
    lines = log.read_text().splitlines() if log.exists() else []
    questions = ("--version", "-machine help", "-machine none")
    return [line for line in lines if not any(each in line for each in questions)]


def test_check_says_what_is_wrong_and_starts_nothing(
    tmp_path: Path, qemu: Path, qemu_src: Path
) -> None:
    paths = [tmp_path / f"{number}.json" for number in range(len(CASES))]
    for path, (fields, _) in zip(paths, CASES.values(), strict=True):
        path.write_text(json.dumps({"name": "bad", **_device(), **fields}))
    good = tmp_path / "good.json"
    good.write_text(json.dumps({"name": "good", **_device()}))
    twice = tmp_path / "twice.json"
    twice.write_text('{"name": "twice", "channels": 2, "channels": 3}')
    status, out, err = _harness("check", qemu, qemu_src, *map(str, (*paths, good, twice)))
    assert status == 4, err
    *lines, of_good, of_twice = out.splitlines()
    for path, line, (_, words) in zip(paths, lines, CASES.values(), strict=True):
        assert line.startswith(f"{path}: "), line
        assert words in line, line
    assert of_good == f"{good}: ok"
    assert "field channels appears twice" in of_twice
    assert not _started(qemu)


@pytest.mark.parametrize("name", OF_A_BUILD)
def test_run_refuses_the_same_and_starts_nothing(
    tmp_path: Path, qemu: Path, qemu_src: Path, name: str
) -> None:
    path, runs = tmp_path / "bad.json", tmp_path / "runs"
    fields, words = CASES[name]
    path.write_text(json.dumps({"name": "bad", **_device(), **fields}))
    status, out, err = _harness("run", qemu, qemu_src, str(path), "--runs", str(runs))
    (line,) = err.splitlines()
    assert (status, out) == (4, "")
    assert f"{path}: bad: " in line
    assert words in line
    assert not _started(qemu)
    assert not runs.exists()


def test_file_with_a_return_path_is_what_qemu_cannot_read(tmp_path: Path, qemu_src: Path) -> None:
    """The reason of that check: when it is no more so, the check goes."""
    script = '{"execute": "qmp_capabilities"}\n' + "".join(
        json.dumps({"execute": command, "arguments": arguments}) + "\n"
        for command, arguments in (
            ("migrate-set-capabilities",
             {"capabilities": [{"capability": "return-path", "state": True},
                               {"capability": "events", "state": True}]}),
            ("migrate", {"uri": f"file:{tmp_path}/stream"}),
        )
    )  # fmt: skip
    argv = [str(qemu_src), "-nodefaults", "-display", "none", "-S", "-qmp", "stdio"]
    statuses = []
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(script)
            process.stdin.flush()
            for line in process.stdout:
                message = json.loads(line)
                if message.get("event") == "MIGRATION":
                    statuses.append(message["data"]["status"])
                    if statuses[-1] in ("completed", "failed"):
                        break
            process.stdin.write('{"execute": "query-migrate"}\n{"execute": "quit"}\n')
            process.stdin.flush()
            rest = process.stdout.read()
        finally:
            process.kill()
    assert statuses[-1] == "failed"
    assert "Unable to read from file: Bad file descriptor" in rest
