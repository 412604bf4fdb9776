"""Which cells a file gives, and what runs in each."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from ci.avocado import cells
from ci.avocado.cells import Cell
from harness.errors import HarnessError, UsageError
from harness.vm import builds

ROOT = Path(__file__).parents[4]
FILE = """
{select}
scenarios = ["plain", "rechunked"]
[axes]
source = ["a", "b", "c"]
destination = ["a", "b", "c"]
device = ["small", "other"]
channels = [1, 2, 3]
devices = [1, 2]
[device.small]
kind = "emulated"
size = 1000
[device.other]
kind = "hologram"
"""


@pytest.fixture
def matrix(tmp_path):
    def load(text: str = FILE, select: str = 'select = "pairwise"') -> cells.Matrix:
        path = tmp_path / "matrix.toml"
        path.write_text(text.replace("{select}", select))
        return cells.load(path)

    return load


def test_all_is_the_product(matrix):
    found = cells.cells(matrix(select='select = "all"'))
    assert len(set(found)) == 3 * 3 * 2 * 3 * 2


def test_pairwise_has_each_pair_in_fewer_cells(matrix):
    it = matrix()
    found = cells.cells(it)
    names = cells.Axes.__struct_fields__
    for one, other in itertools.combinations(names, 2):
        wanted = set(itertools.product(getattr(it.axes, one), getattr(it.axes, other)))
        assert {(getattr(c, one), getattr(c, other)) for c in found} == wanted
    assert len(found) < 20


def test_seed_decides_the_selection(matrix):
    first, same, other = (cells.cells(matrix(select=f"seed = {seed}")) for seed in (1, 1, 2))
    assert first == same
    assert set(first) != set(other)


def test_shards_are_all_cells_once(matrix):
    found = cells.cells(matrix())
    parts = [cells.shard(found, f"{n}/3") for n in (1, 2, 3)]
    assert sorted(itertools.chain(*parts), key=str) == sorted(found, key=str)
    for text in ("0/3", "4/3", "x"):
        with pytest.raises(UsageError, match="not a part"):
            cells.shard(found, text)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('device = ["small", "other"]', 'device = ["big"]', r"no \[device.big\]"),
        ("channels = [1, 2, 3]", "channels = []", "axes.channels is empty"),
        ("channels = [1, 2, 3]", "chanels = [1]", "chanels"),
        ("channels = [1, 2, 3]", "channels = [1, 1]", "names a value twice"),
        ("[axes]", "[axes", "not a matrix"),
        ('scenarios = ["plain", "rechunked"]', "scenarios = []", "scenarios is empty"),
    ],
)
def test_file_that_is_no_matrix_is_refused_with_what_is_wrong(matrix, old, new, words):
    with pytest.raises(UsageError, match=words):
        matrix(FILE.replace(old, new))


def test_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="cannot read the matrix"):
        cells.load(tmp_path / "none.toml")


def test_each_scenario_gets_the_cells_devices_and_channels(matrix, monkeypatch):
    monkeypatch.setattr(builds, "find", lambda name, *_: Path("/builds") / name)
    monkeypatch.setattr(builds, "version_of", lambda _path: (10, 0, 0))
    plain, rechunked = cells.scenarios(matrix(), Cell("a", "a", "small", 3, 2))
    assert (plain.name, rechunked.name) == ("plain", "rechunked")
    assert rechunked.faults
    for each in (plain, rechunked):
        assert each.channels == 3
        assert [(d.id, d.size) for d in list[Any](each.devices)] == [
            ("vfio0", 1000),
            ("vfio1", 1000),
        ]
        assert each.qemu == "/builds/a"


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (Cell("a", "a", "other", 1, 1), "no device kind hologram, choose from emulated"),
        (Cell("no-such-build", "a", "small", 1, 1), "no-such-build"),
    ],
)
def test_cell_that_cannot_run_says_why(matrix, cell, words):
    with pytest.raises(HarnessError, match=words):
        cells.scenarios(matrix(), cell)


def test_name_of_a_cell_is_no_option_and_one_folder():
    assert Cell("/opt/a b/qemu", "a", "x", 1, 2).name == "opt-a-b-qemu--a--x--1ch--2dev"


def test_file_of_the_project_is_a_matrix():
    assert cells.cells(cells.load(ROOT / "ci/avocado/matrix.toml"))
