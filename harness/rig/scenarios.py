"""Scenarios that need the kernel's own devices run in the rig if this machine has none."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.devices import attachments
from harness.errors import LostVM, PrerequisiteMissing
from harness.history import private
from harness.history.rundir import RunDir
from harness.rig import image, rig
from harness.scenario import Scenario, to_json

_BOOT_S = 120.0
_SPARE_S = 60.0  # of a migration, besides its deadline


def is_needed(wanted: Sequence[Scenario]) -> bool:
    """Whether one of ``wanted`` has devices of a kind that the rig has and this machine lacks."""
    if rig.is_inside():
        return False
    return any(
        device.is_in_rig and attachments.is_missing_here(device)
        for each in wanted
        for device in each.devices
    )


def run(
    wanted: Sequence[Scenario],
    runs_dir: Path,
    options: Sequence[str],
    *,
    writable: Sequence[Path] = (),
) -> int:
    """``vfio-multifd run`` of ``wanted`` in a rig, as if it ran here; its exit status.

    Run directories come out in ``runs_dir``.  The rig's own folder stays there, with its
    console, unless all was valid.

    :param options: those of ``run`` that are not part of the scenarios
    :param writable: more folders that it writes to
    :raise PrerequisiteMissing: there is no rig, or it has no such device
    :raise LostVM: the rig was lost
    """
    for words in (device.not_in_rig for each in wanted for device in each.devices):
        if words:
            raise PrerequisiteMissing(f"this machine has no mdev devices; of the rig's: {words}")
    try:
        image.find()
    except PrerequisiteMissing as error:
        raise PrerequisiteMissing(f"this machine has no mdev devices, and {error}") from error
    folder = RunDir.create(runs_dir, "rig").path
    paths = list(_written(wanted, folder))
    command = [sys.executable, "-m", "harness.cli", "run", *map(str, paths)]
    try:
        status = rig.run(
            [*command, "--runs", str(runs_dir), *options],
            folder,
            on_stdout=rig.passed_on(sys.stdout.buffer),
            on_stderr=rig.passed_on(sys.stderr.buffer),
            writable=(runs_dir, *writable),
            deadline_s=_BOOT_S + sum(map(_most_s, wanted)),
        )
    except LostVM:
        raise
    except BaseException:
        _remove(folder)
        raise
    if status == 0:
        _remove(folder)
    return status


def _written(wanted: Sequence[Scenario], folder: Path) -> Iterator[Path]:
    for number, each in enumerate(wanted):
        path = folder / f"{number:04}.json"
        private.write(path, to_json(each))
        yield path


def _most_s(scenario: Scenario) -> float:
    """How long ``scenario`` may take."""
    return sum(_SPARE_S + 2 * each.deadline_s for each in scenario.migrations())


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
