"""What is left of run directories that are too large together."""

import pytest

from ci.limit_runs import NOT_KEPT, limit, main

KIB = 1024


@pytest.fixture
def runs(tmp_path):
    """Two runs in two suites; each file's size in KiB."""
    for name, size in {
        "main/a-1/history.jsonl": 20,
        "main/a-1/manifest.json": 1,
        "main/a-1/source.trace": 50,
        "main/b-1/history.jsonl": 20,
        "main/b-1/manifest.json": 1,
        "main/b-1/migration.capture": 100,
        "main/b-1/source.stderr": 1,
        "rig/a-1/history.jsonl": 5,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size * KIB)
    return tmp_path


def left(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_nothing_goes_where_there_is_room(runs):
    before = left(runs)
    assert limit(runs, 198 * KIB) == []
    assert left(runs) == before


def test_largest_that_is_not_needed_goes_first(runs):
    assert limit(runs, 197 * KIB) == [runs / "main/b-1/migration.capture"]
    assert limit(runs, 60 * KIB) == [runs / "main/a-1/source.trace"]


def test_complete_runs_go_from_the_last_when_that_is_not_enough(runs):
    limit(runs, 30 * KIB)
    assert left(runs) == {"main/a-1/history.jsonl", "main/a-1/manifest.json"}
    assert not (runs / "rig").exists()


def test_empty_folders_go(runs):
    (runs / "empty/deep").mkdir(parents=True)
    limit(runs, 1000 * KIB)
    assert not (runs / "empty").exists()
    assert (runs / "main/a-1").is_dir()


def test_what_was_removed_is_reported(runs, capsys):
    main(runs, 0)
    assert left(runs) == {NOT_KEPT}
    assert (runs / NOT_KEPT).read_text().split() == [
        "main/b-1/migration.capture",
        "main/a-1/source.trace",
        "rig/a-1",
        "main/b-1",
        "main/a-1",
    ]
    assert "over 0 MiB" in capsys.readouterr().out
    main(runs, 1)
    assert capsys.readouterr().out == ""
