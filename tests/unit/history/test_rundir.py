"""The run directory: written whole or not at all; damage is told in one line."""

import gc
import json
import os
import threading
from pathlib import Path

import msgspec
import pytest

from harness.errors import HarnessError, HistoryError, UsageError
from harness.history import Kind, Record, Side
from harness.history.builds import BuildFacts
from harness.history.rundir import (
    FORMAT,
    HISTORY,
    MANIFEST,
    SCENARIO,
    Manifest,
    RunDir,
    digest_of,
    load,
    read_records,
)
from harness.scenario import EmulatedDevice, Scenario

FACTS = BuildFacts(path="/usr/bin/qemu", version=(10, 0, 2), version_text="10.0.2")
MANIFEST_OF = Manifest(
    harness="0.1.0",
    scenario="order",
    started_ns=1,
    ended_ns=9,
    source=FACTS,
    destination=FACTS,
    complete=True,
)
SCENARIO_OF = Scenario(name="order", devices=(EmulatedDevice(id="vfio0", size=7),))
RECORDS = [
    Record(3, Side.SOURCE, Kind.QMP, "MIGRATION", {"status": "setup"}),
    Record(5, Side.DESTINATION, Kind.TRACE, "vfio_load_bufs_thread_start", {}, "vfio0", 7),
    Record(8, Side.SOURCE, Kind.QMP, "MIGRATION", {"status": "completed"}),
]


@pytest.fixture
def rundir(tmp_path) -> RunDir:
    made = RunDir.create(tmp_path, "order")
    made.write_scenario(SCENARIO_OF)
    made.write_history(RECORDS)
    made.write_manifest(MANIFEST_OF)
    return made


def damage(rundir: RunDir, name: str, data: bytes) -> str:
    """What loading says once the file ``name`` holds ``data``."""
    (rundir.path / name).write_bytes(data)
    with pytest.raises(HistoryError) as error:
        load(rundir.path)
    words = str(error.value)
    assert "\n" not in words
    assert str(rundir.path) in words
    return words


# -- making one --------------------------------------------------------------------------


def test_directory_has_a_readable_name_and_a_number(tmp_path):
    assert RunDir.create(tmp_path, "order").path == tmp_path / "order-0001"
    assert RunDir.create(tmp_path, "order").path == tmp_path / "order-0002"
    assert RunDir.create(tmp_path, "other").path == tmp_path / "other-0001"


def test_number_goes_on_after_the_highest_and_is_never_reused(tmp_path):
    (tmp_path / "order-0041").mkdir()
    (tmp_path / "order-0007").mkdir()
    assert RunDir.create(tmp_path, "order").path.name == "order-0042"


def test_a_file_in_the_way_is_passed_over(tmp_path):
    (tmp_path / "order-9999").write_text("")
    assert RunDir.create(tmp_path, "order").path.name == "order-10000"


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("with space/and slash", "with-space-and-slash"),
        ("../../etc", "etc"),
        ("", "run"),
        ("...", "run"),
        ("größe", "gr-e"),
        ("a[1]", "a-1"),
    ],
)
def test_name_stays_inside_its_parent(tmp_path, name, stem):
    made = RunDir.create(tmp_path, name)
    assert made.path.parent == tmp_path
    assert made.path.name == f"{stem}-0001"


def test_parent_is_made(tmp_path):
    assert RunDir.create(tmp_path / "a" / "b", "order").path.is_dir()


def test_parent_that_is_a_file_is_a_usage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot make a run directory"):
        RunDir.create(tmp_path / "file", "order")


def test_parallel_creators_get_directories_of_their_own(tmp_path):
    made: list[Path] = []

    def create() -> None:
        for _ in range(20):
            made.append(RunDir.create(tmp_path, "order").path)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 80
    assert all(path.is_dir() for path in made)


# -- writing and reading -----------------------------------------------------------------


def test_what_was_written_is_read_again(rundir):
    history = load(rundir.path)
    assert history.scenario == SCENARIO_OF
    assert history.records == RECORDS
    digests = {
        "scenario_digest": digest_of(rundir.path / SCENARIO),
        "history_digest": digest_of(rundir.path / HISTORY),
    }
    assert history.manifest == msgspec.structs.replace(MANIFEST_OF, records=3, **digests)


def test_records_are_sorted_by_time_and_those_of_one_time_keep_their_order(tmp_path):
    made = RunDir.create(tmp_path, "order")
    names = [(2, "c"), (1, "b"), (2, "a"), (1, "z")]
    made.write_history(Record(t, Side.SOURCE, Kind.TRACE, name) for t, name in names)
    assert [record.name for record in read_records(made.path / HISTORY)] == ["b", "z", "c", "a"]


def test_history_without_records_is_read(tmp_path):
    made = RunDir.create(tmp_path, "order")
    made.write_scenario(SCENARIO_OF)
    assert made.write_history([]) == 0
    made.write_manifest(MANIFEST_OF)
    assert load(made.path).records == []


def test_nobody_else_reads_it_whatever_the_umask_is(tmp_path):
    before = os.umask(0)
    try:
        made = RunDir.create(tmp_path / "new" / "runs", "order")
        made.write_scenario(SCENARIO_OF)
        made.write_history(RECORDS)
        made.write_manifest(MANIFEST_OF)
        made.write_verdict(b"{}")
    finally:
        os.umask(before)
    paths = [tmp_path / "new", *(tmp_path / "new").rglob("*")]
    assert len(paths) == 7
    assert not [path for path in paths if path.stat().st_mode & 0o077]


def test_folder_of_runs_that_is_there_keeps_its_mode(tmp_path):
    """It is the user's, who may share it."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs").chmod(0o755)
    made = RunDir.create(tmp_path / "runs", "order")
    assert (tmp_path / "runs").stat().st_mode & 0o777 == 0o755
    assert made.path.stat().st_mode & 0o777 == 0o700


def test_qemu_in_another_working_directory_finds_it_and_words_are_as_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = RunDir.create(Path("runs"), "order")
    assert made.path == Path("runs/order-0001")
    assert made.folder == tmp_path / "runs" / "order-0001"


def test_nothing_but_the_files_is_left(rundir):
    assert {path.name for path in rundir.path.iterdir()} == {MANIFEST, SCENARIO, HISTORY}


def test_verdict_lies_beside(rundir):
    rundir.write_verdict(b"{}\n")
    assert (rundir.path / "verdict.json").read_bytes() == b"{}\n"
    assert load(rundir.path).records == RECORDS


def test_manifest_is_made_for_people_too(rundir):
    text = (rundir.path / MANIFEST).read_text()
    assert json.loads(text)["format"] == FORMAT
    assert text.count("\n") > 10


def test_manifest_of_a_history_that_was_not_written_counts_nothing(tmp_path):
    made = RunDir.create(tmp_path, "order")
    made.write_manifest(MANIFEST_OF)
    assert json.loads((made.path / MANIFEST).read_text())["records"] == -1


def test_a_failed_write_leaves_no_half_file(rundir, monkeypatch):
    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(HarnessError, match=r"history\.jsonl: cannot write: No space left"):
        rundir.write_history(RECORDS[:1])
    assert load(rundir.path).records == RECORDS
    assert not list(rundir.path.glob(".*"))


def test_reading_leaves_the_garbage_collector_as_it_was(rundir):
    assert gc.isenabled()
    load(rundir.path)
    assert gc.isenabled()
    gc.disable()
    try:
        load(rundir.path)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_fields_that_a_later_harness_of_this_format_adds_are_passed_over(rundir):
    manifest = json.loads((rundir.path / MANIFEST).read_text())
    manifest["source"]["compiler"] = "cc"
    manifest["host"] = "here"
    (rundir.path / MANIFEST).write_text(json.dumps(manifest))
    assert load(rundir.path).manifest.source == FACTS


# -- damage ------------------------------------------------------------------------------


def test_no_such_directory(tmp_path):
    with pytest.raises(UsageError, match="no such directory"):
        load(tmp_path / "gone")


def test_not_a_directory(rundir):
    with pytest.raises(UsageError, match="not a directory; give a run directory"):
        load(rundir.path / MANIFEST)


def test_directory_without_manifest_is_no_run(tmp_path):
    with pytest.raises(HistoryError, match=r"no manifest\.json: not a run directory"):
        load(tmp_path)


def test_newer_format_is_named(rundir):
    words = damage(rundir, MANIFEST, b'{"format": 99, "something": "else"}')
    assert f"made by a newer harness: format 99, this one reads up to {FORMAT}" in words


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"format": "one"}',
        b'{"format": 1}',
        b"\xff\xfe",
        b'{"format":1,"harness":"\xff"}',
    ],
)
def test_damaged_manifest(rundir, data):
    assert "manifest.json: not a manifest" in damage(rundir, MANIFEST, data)


@pytest.mark.parametrize("data", [b"", b"{", b'{"name": "x", "color": "red"}', b'{"name": "\xff"}'])
def test_damaged_scenario(rundir, data):
    assert "scenario.json: not a scenario" in damage(rundir, SCENARIO, data)


@pytest.mark.parametrize("name", [SCENARIO, HISTORY])
def test_missing_file(rundir, name):
    (rundir.path / name).unlink()
    with pytest.raises(HistoryError, match=f"{name}: cannot read: No such file"):
        load(rundir.path)


def test_line_that_is_not_json(rundir):
    lines = (rundir.path / HISTORY).read_bytes().splitlines(keepends=True)
    words = damage(rundir, HISTORY, lines[0] + b"oops\n" + lines[2])
    assert "history.jsonl: line 2: not JSON" in words


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b'{"t_ns":"5","side":"source","kind":"qmp","name":"x"}', "t_ns"),
        (b'{"t_ns":5,"side":"nowhere","kind":"qmp","name":"x"}', "side"),
        (b'{"t_ns":5,"side":"source","kind":"qmp"}', "name"),
        (b'{"t_ns":5,"side":"source","kind":"qmp","name":"x","args":[]}', "args"),
        (b"5", "object"),
    ],
)
def test_line_that_is_not_a_record_tells_what_is_wrong(rundir, line, what):
    lines = (rundir.path / HISTORY).read_bytes().splitlines(keepends=True)
    words = damage(rundir, HISTORY, lines[0] + line + b"\n" + lines[2])
    assert "line 2: not a record" in words
    assert what in words


@pytest.mark.parametrize("cut", [1, 2, 20])
def test_truncated_last_line(rundir, cut):
    data = (rundir.path / HISTORY).read_bytes()
    words = damage(rundir, HISTORY, data[: -1 - cut])
    assert "line 3: truncated last line" in words


def test_file_cut_between_two_lines_is_noticed_too(rundir):
    lines = (rundir.path / HISTORY).read_bytes().splitlines(keepends=True)
    assert "has 2 records, the manifest says 3" in damage(rundir, HISTORY, b"".join(lines[:2]))


def test_manifest_that_counts_nothing_is_believed(rundir):
    manifest = json.loads((rundir.path / MANIFEST).read_text()) | {"records": -1, "format": 1}
    (rundir.path / MANIFEST).write_text(json.dumps(manifest))
    (rundir.path / HISTORY).write_bytes(b"")
    assert load(rundir.path).records == []


def test_lines_out_of_order(rundir):
    lines = (rundir.path / HISTORY).read_bytes().splitlines(keepends=True)
    words = damage(rundir, HISTORY, lines[1] + lines[0] + lines[2])
    assert "line 2: earlier than the line before it" in words


def test_bytes_that_are_not_utf_8(rundir):
    line = b'{"t_ns":9,"side":"source","kind":"qmp","name":"\xff"}\n'
    data = (rundir.path / HISTORY).read_bytes()
    assert "line 4: not UTF-8" in damage(rundir, HISTORY, data + line)


def as_of_format_1(rundir: RunDir) -> None:
    manifest = json.loads((rundir.path / MANIFEST).read_text()) | {"format": 1}
    del manifest["scenario_digest"], manifest["history_digest"]
    (rundir.path / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (SCENARIO, b'"size": 7', b'"size": 8'),
        (SCENARIO, b'"order"', b'"other"'),
        (HISTORY, b'"completed"', b'"failed"'),
        (HISTORY, b'"t_ns":8', b'"t_ns":9'),
    ],
)
def test_edited_file_is_no_evidence(rundir, name, old, new):
    data = (rundir.path / name).read_bytes()
    assert data.count(old) == 1
    assert f"{name}: its digest is not that in the manifest" in damage(
        rundir, name, data.replace(old, new)
    )


@pytest.mark.parametrize("name", [SCENARIO, HISTORY])
def test_run_of_an_older_harness_has_no_digests_and_is_read(rundir, name):
    as_of_format_1(rundir)
    assert load(rundir.path).records == RECORDS
    data = (rundir.path / name).read_bytes()
    (rundir.path / name).write_bytes(data.replace(b'"size": 7', b'"size":  7') + b"\n")
    assert load(rundir.path)


@pytest.mark.parametrize("field", ["scenario_digest", "history_digest"])
def test_digest_that_was_taken_out_is_missed(rundir, field):
    manifest = json.loads((rundir.path / MANIFEST).read_text())
    del manifest[field]
    words = damage(rundir, MANIFEST, json.dumps(manifest).encode())
    assert "its digest is not that in the manifest" in words


def test_run_that_is_saved_again_has_digests_of_its_own(rundir, tmp_path):
    again = RunDir.create(tmp_path, "again")
    loaded = load(rundir.path)
    again.write_scenario(Scenario(name="other"))
    again.write_history(loaded.records[:1])
    written = again.write_manifest(msgspec.structs.replace(loaded.manifest, records=-1))
    assert load(again.path).manifest == written
    assert written.scenario_digest != loaded.manifest.scenario_digest
