"""The cells of a matrix: source build x destination build x device x channels x devices.

Read from a TOML file that who owns the machine edits (``ci/avocado/matrix.toml``).
"""

import itertools
import random
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
from allpairspy import AllPairs

from harness import scenario
from harness.errors import UsageError
from harness.job import job
from harness.scenario import Device, Scenario, main_job

ALL_OF = "all"
KINDS = frozenset(str(kind.__struct_config__.tag) for kind in get_args(Device))
"""What a scenario can have."""


class Axes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What there is of each; a cell is one of each."""

    source: tuple[str, ...]
    destination: tuple[str, ...]
    device: tuple[str, ...] = ("emulated",)
    channels: tuple[int, ...] = (4,)
    devices: tuple[int, ...] = (1,)


class Matrix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    axes: Axes
    scenarios: tuple[str, ...] = ("plain",)
    """``plain``, names of the main job, paths of JSON files; each takes the cell's devices."""
    select: Literal["all", "pairwise"] = "pairwise"
    """All cells, or so many that each two values of different axes meet in one of them."""
    seed: int = 1
    """Which of the many pairwise selections."""
    builds: dict[str, str] = {}
    """Names of builds of one's own: a binary or a build tree."""
    device: dict[str, dict[str, Any]] = {}
    """Devices by name, as in a scenario's JSON, without ``id``."""
    limit_s: int = 600
    """Time for one scenario of a cell."""


class Cell(msgspec.Struct, frozen=True):
    """One of each axis."""

    source: str
    destination: str
    device: str
    channels: int
    devices: int

    @property
    def name(self) -> str:
        """Fit for a file and for a suite of avocado."""
        pair = f"{self.source}--{self.destination}"
        text = f"{pair}--{self.device}--{self.channels}ch--{self.devices}dev"
        # avocado's runner would take a name that begins with a dash for an option.
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-")


def load(path: Path) -> Matrix:
    """The matrix in the file ``path``.

    :raise UsageError: it cannot be read, or is none; names the field
    """
    try:
        matrix = msgspec.convert(tomllib.loads(path.read_text()), Matrix)
    except OSError as error:
        raise UsageError(f"{path}: cannot read the matrix: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"{path}: not a matrix: {error}") from error
    for axis in Axes.__struct_fields__:
        values = getattr(matrix.axes, axis)
        if not values or len(set(values)) != len(values):
            raise UsageError(f"{path}: axes.{axis} is empty or names a value twice")
    if unknown := [name for name in matrix.axes.device if name not in matrix.device]:
        raise UsageError(f"{path}: axes.device: there is no [device.{unknown[0]}]")
    if not matrix.scenarios:
        raise UsageError(f"{path}: scenarios is empty")
    return matrix


def cells(matrix: Matrix) -> list[Cell]:
    """Those that are selected; the same for the same file."""
    axes = [list(getattr(matrix.axes, axis)) for axis in Axes.__struct_fields__]
    if matrix.select == ALL_OF:
        return [Cell(*values) for values in itertools.product(*axes)]
    chance = random.Random(matrix.seed)
    for values in axes:
        chance.shuffle(values)
    return [Cell(*values) for values in AllPairs(axes)]


def shard(found: Sequence[Cell], text: str) -> list[Cell]:
    """The part ``text`` of them, like 2/3: the second of three machines.

    :raise UsageError: it is no part
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard {text}: not a part like 2/3")
    return list(found[int(match[1]) - 1 :: int(match[2])])


def scenarios(matrix: Matrix, cell: Cell) -> list[Scenario]:
    """The scenarios of a cell, ready to run.

    :raise HarnessError: there is no such build, device kind or scenario here; says which
    """
    return [_scenario(matrix, cell, name) for name in matrix.scenarios]


def _scenario(matrix: Matrix, cell: Cell, name: str) -> Scenario:
    given = matrix.device[cell.device]
    if given.get("kind") not in KINDS:
        raise UsageError(f"no device kind {given.get('kind')} here: {', '.join(sorted(KINDS))}")
    try:
        device: Device = msgspec.convert({"id": "vfio0", **given}, Device)
        original = msgspec.structs.replace(_original(name), devices=(device,))
    except (msgspec.ValidationError, ValueError) as error:
        raise UsageError(f"{name} with device {cell.device}: {error}") from error
    settings = job.Settings(
        qemu=matrix.builds.get(cell.source, cell.source),
        qemu_dst=matrix.builds.get(cell.destination, cell.destination),
        channels=cell.channels,
        devices=cell.devices,
    )
    return job.with_builds(job.applied(original, settings), settings)


def _original(name: str) -> Scenario:
    if name == "plain":
        return Scenario(name=name)
    if name.endswith(".json"):
        return scenario.load(Path(name))
    found = {each.name: each for each in main_job.SCENARIOS}
    if name not in found:
        raise UsageError(f"there is no scenario {name}: plain, one of the main job, or a file.json")
    return found[name]
