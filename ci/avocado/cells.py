"""The cells of a matrix: source build x destination build x device x channels x devices.

A TOML file describes them (``ci/avocado/matrix.toml``); edit a copy of it.
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
from harness.job.settings import Settings, applied, with_builds
from harness.scenario import Device, Scenario, main_job

ALL_OF = "all"
KINDS = frozenset(str(kind.__struct_config__.tag) for kind in get_args(Device))
"""The device kinds of a scenario."""


class Axes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The values of each axis; a cell has one value of each."""

    source: tuple[str, ...]
    destination: tuple[str, ...]
    device: tuple[str, ...] = ("emulated",)
    channels: tuple[int, ...] = (4,)
    devices: tuple[int, ...] = (1,)


class Matrix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    axes: Axes
    scenarios: tuple[str, ...] = ("plain",)
    """``plain``, names of the main job, or paths of JSON files; each with the cell's devices."""
    select: Literal["all", "pairwise"] = "pairwise"
    """All cells, or enough that each pair of values of different axes is in one of them."""
    seed: int = 1
    """Selects one of many pairwise selections."""
    builds: dict[str, str] = {}
    """Names for other builds: a binary or a build tree."""
    device: dict[str, dict[str, Any]] = {}
    """Devices by name, as in a scenario's JSON, without ``id``."""
    limit_s: int = 600
    """Time for one scenario of a cell."""


class Cell(msgspec.Struct, frozen=True):
    """One value of each axis."""

    source: str
    destination: str
    device: str
    channels: int
    devices: int

    @property
    def name(self) -> str:
        """A name for a file and for an avocado suite."""
        pair = f"{self.source}--{self.destination}"
        text = f"{pair}--{self.device}--{self.channels}ch--{self.devices}dev"
        # avocado's runner treats a name with a leading dash as an option.
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-")


def load(path: Path) -> Matrix:
    """The matrix in the file ``path``.

    :raise UsageError: it cannot be read, or is not a matrix; names the field
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
        raise UsageError(f"{path}: axes.device: no [device.{unknown[0]}]")
    if not matrix.scenarios:
        raise UsageError(f"{path}: scenarios is empty")
    return matrix


def cells(matrix: Matrix) -> list[Cell]:
    """The selected cells; always the same for the same file."""
    axes = [list(getattr(matrix.axes, axis)) for axis in Axes.__struct_fields__]
    if matrix.select == ALL_OF:
        return [Cell(*values) for values in itertools.product(*axes)]
    chance = random.Random(matrix.seed)
    for values in axes:
        chance.shuffle(values)
    return [Cell(*values) for values in AllPairs(axes)]


def shard(found: Sequence[Cell], text: str) -> list[Cell]:
    """The part ``text`` of the cells, for example 2/3: the second of three machines.

    :raise UsageError: ``text`` is not a part
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard {text}: not a part like 2/3")
    return list(found[int(match[1]) - 1 :: int(match[2])])


def scenarios(matrix: Matrix, cell: Cell) -> list[Scenario]:
    """The scenarios of a cell, ready to run.

    :raise HarnessError: this machine has no such build, device kind or scenario; names it
    """
    return [_scenario(matrix, cell, name) for name in matrix.scenarios]


def _scenario(matrix: Matrix, cell: Cell, name: str) -> Scenario:
    given = matrix.device[cell.device]
    if given.get("kind") not in KINDS:
        raise UsageError(
            f"no device kind {given.get('kind')}, choose from {', '.join(sorted(KINDS))}"
        )
    try:
        device: Device = msgspec.convert({"id": "vfio0", **given}, Device)
        original = msgspec.structs.replace(_original(name), devices=(device,))
    except (msgspec.ValidationError, ValueError) as error:
        raise UsageError(f"{name} with device {cell.device}: {error}") from error
    settings = Settings(
        qemu=matrix.builds.get(cell.source, cell.source),
        qemu_dst=matrix.builds.get(cell.destination, cell.destination),
        channels=cell.channels,
        devices=cell.devices,
    )
    return with_builds(applied(original, settings), settings)


def _original(name: str) -> Scenario:
    if name == "plain":
        return Scenario(name=name)
    if name.endswith(".json"):
        return scenario.load(Path(name))
    found = {each.name: each for each in main_job.SCENARIOS}
    if name not in found:
        raise UsageError(f"no scenario {name}: give plain, a name of the main job, or a file.json")
    return found[name]
