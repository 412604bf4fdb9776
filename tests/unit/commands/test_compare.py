"""Exit statuses of ``compare``, and one line for what is wrong."""

import json

import msgspec
import pytest

from tests.unit.called import one_line
from tests.unit.measure.test_benchmark import made, row
from tests.unit.saved_runs import save, valid_run, violated_run


def test_the_same_runs_are_0(call, tmp_path):
    path = save(valid_run(), tmp_path)
    status, out, err = call("compare", path, tmp_path)
    assert (status, err) == (0, "")
    assert "Nothing got worse" in out


def test_what_is_violated_now_is_1(call, tmp_path):
    before, after = save(valid_run(), tmp_path), save(violated_run(), tmp_path)
    status, out, _ = call("compare", before, after)
    assert status == 1
    assert "ORD-1  valid -> VIOLATED" in out
    assert call("compare", after, before)[0] == 0


def test_json_is_one_document(call, tmp_path):
    before, after = save(valid_run(), tmp_path), save(violated_run(), tmp_path)
    status, out, _ = call("compare", before, after, "--json")
    found = json.loads(out)
    assert (status, found["exit_status"]) == (1, 1)
    assert found["changes"][0]["requirement"] == "ORD-1"


@pytest.mark.parametrize("side", ["before", "after"])
def test_what_is_no_run_is_one_line_and_4(call, tmp_path, side):
    path = save(valid_run(), tmp_path)
    (tmp_path / "empty").mkdir()
    both = (tmp_path / "empty", path) if side == "before" else (path, tmp_path / "empty")
    status, out, err = call("compare", *both)
    assert (status, out) == (4, "")
    assert "empty" in one_line(err)


def test_run_of_a_newer_format_is_one_line_and_4(call, tmp_path):
    before, after = save(valid_run(), tmp_path), save(valid_run(), tmp_path)
    manifest = after / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 2', '"format": 99'))
    status, _, err = call("compare", before, after)
    assert status == 3
    assert "made by a newer harness" in one_line(err)
    assert "made by a newer harness" in one_line(call("recheck", after)[2])


def test_baseline_that_is_not_there_is_told_before_anything_runs(call, tmp_path):
    status, _, err = call("run", "--size", "1", "--baseline", tmp_path / "gone",
                          "--qemu", "/bin/true", "--runs", tmp_path)  # fmt: skip
    assert status == 3
    assert one_line(err)
    assert not list(tmp_path.iterdir())


def test_nothing_in_common_is_one_line_that_names_both(call, tmp_path):
    save(valid_run(), tmp_path / "a", "x")
    save(violated_run(), tmp_path / "b")
    save(violated_run(), tmp_path / "b")
    status, out, err = call("compare", tmp_path / "a", tmp_path / "b")
    assert (status, out) == (3, "")
    assert "before: valid; after: liar" in one_line(err)


@pytest.fixture
def benchmarks(tmp_path):
    """Writes benchmarks; the paths."""

    def write(*found):
        paths = [tmp_path / f"{number}.json" for number in range(len(found))]
        for path, each in zip(paths, found, strict=True):
            path.write_bytes(msgspec.json.encode(each))
        return paths

    return write


def test_two_benchmarks_are_compared_row_by_row(call, benchmarks):
    slower = row(values=tuple(2 * value for value in row().values))
    paths = benchmarks(made(row()), made(slower))
    status, out, err = call("compare", *paths)
    assert (status, err) == (0, "")
    assert "worse" in out
    (found,) = json.loads(call("compare", *paths, "--json")[1])["differences"]
    assert (found["ratio"], found["word"]) == (2.0, "worse")


def test_benchmarks_without_a_common_row_cannot_be_compared(call, benchmarks):
    status, out, err = call("compare", *benchmarks(made(row("a")), made(row("b"))))
    assert (status, out) == (3, "")
    assert "no row was measured in both" in one_line(err)


def test_file_that_is_no_benchmark_is_one_line_and_4(call, benchmarks, tmp_path):
    (path,) = benchmarks(made(row()))
    other = tmp_path / "other.json"
    other.write_text("{}")
    status, _, err = call("compare", path, other)
    assert status == 4
    assert "not a benchmark" in one_line(err)
