"""``recheck``: exit statuses, one line for what is wrong, one document with --json."""

import json
from pathlib import Path

import pytest

from tests.unit.called import one_line
from tests.unit.saved_runs import save, valid_run, violated_run

DATA = Path(__file__).parents[2] / "data"


def test_valid_run_exits_0(call, tmp_path):
    status, out, err = call("recheck", save(valid_run(), tmp_path))
    assert (status, err) == (0, "")
    assert "Valid: " in out


def test_violated_run_exits_1_and_says_what_where_and_how_to_repeat_it(call, tmp_path):
    path = save(violated_run(), tmp_path)
    status, out, err = call("recheck", path)
    assert (status, err) == (1, "")
    assert "ORD-1 VIOLATED in liar" in out
    assert f"vfio-multifd run {path}/scenario.json" in out


def test_folder_of_runs_is_searched_through(call, tmp_path):
    save(valid_run(), tmp_path / "a")
    save(violated_run(), tmp_path / "b" / "c")
    status, out, _ = call("recheck", tmp_path)
    assert status == 1
    assert [line.split()[1] for line in out.splitlines()[:2]] == ["valid", "VIOLATED"]


def test_damaged_run_is_one_line_and_exit_3_and_the_others_are_still_judged(call, tmp_path):
    save(valid_run(), tmp_path, "a")
    history = save(valid_run(), tmp_path, "b") / "history.jsonl"
    history.write_bytes(history.read_bytes()[:1000])
    status, out, err = call("recheck", tmp_path)
    assert status == 3
    assert str(history) in one_line(err)
    assert "1 of 2 runs LOST" in out


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("scenario.json", '"channels": 4', '"channels": 5'),
        ("history.jsonl", '"status":"completed"', '"status":"cancelled"'),
    ],
)
def test_edited_run_is_no_evidence(call, tmp_path, name, old, new):
    """Else the editor of a run, not the run, says what QEMU did."""
    path = save(valid_run(), tmp_path)
    file = path / name
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    other = save(valid_run(), tmp_path / "other")
    for argv in (("recheck", path), ("compare", path, other), ("compare", other, path),
                 ("export", path, "-o", tmp_path / "trace")):  # fmt: skip
        status, _, err = call(*argv)
        assert status == 3
        assert f"{file}: its digest is not that in the manifest" in one_line(err)


@pytest.mark.parametrize("name", ["manifest.json", "scenario.json", "history.jsonl"])
def test_run_that_lacks_a_file_is_one_line(call, tmp_path, name):
    path = save(valid_run(), tmp_path)
    (path / name).unlink()
    status, out, err = call("recheck", path)
    assert (status, out) == (3, "")
    assert name in one_line(err)


def test_folder_without_runs_and_no_folder_are_one_line(call, tmp_path):
    for path in (tmp_path, tmp_path / "gone"):
        status, _, err = call("recheck", path)
        assert status == 4
        assert str(path) in one_line(err)


@pytest.mark.parametrize(("folder", "status"), [("good", 0), ("violated", 1)])
def test_saved_runs_of_real_qemus_are_judged_offline(call, folder, status, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert call("recheck", DATA / folder)[0] == status


def test_json_is_one_document_and_nothing_else(call, tmp_path):
    save(valid_run(), tmp_path)
    save(violated_run(), tmp_path)
    status, out, err = call("recheck", tmp_path, "--json")
    assert (status, err) == (1, "")
    found = json.loads(out)
    assert [run["outcome"] for run in found["runs"]] == ["violated", "valid"]


def test_json_is_a_document_also_where_nothing_could_be_done(call, tmp_path):
    status, out, err = call("recheck", tmp_path / "gone", "--json")
    assert status == 4
    assert json.loads(out)["error"] in one_line(err)
    assert (json.loads(out)["overall"], json.loads(out)["exit_status"]) == ("usage", 4)


def test_deadlock_that_is_a_known_deviation_is_reported_as_one(call):
    status, out, _ = call("recheck", DATA / "violated" / "RUN" / "sync-deadlock", "--json")
    (run,) = json.loads(out)["runs"]
    assert (status, run["outcome"]) == (2, "known deviation")
    assert "channels_ready" in run["known"]["cause"]
    name = "set-4-device-state-is-queued-during-the-final-ram-sync"
    assert (run["known"]["name"], run["known"]["repro"][-1]) == (name, name)


def test_known_deviation_that_shows_in_every_run_is_named_and_stays_violated(call):
    """It is recognised by what was seen, whatever the scenario's name is."""
    name = "ord-4-guest-writes-the-interrupt-line"
    path = DATA / "violated" / "ORD-4" / "interrupt-line"
    status, out, _ = call("recheck", path, "--json")
    (run,) = json.loads(out)["runs"]
    assert (status, run["outcome"], run["known"], run["name"] == name) == (
        1,
        "violated",
        None,
        False,
    )
    (seen,) = run["deviations"]
    assert (seen["seen_in"], seen["name"]) == ("ORD-4", name)
    assert seen["repro"] == ["vfio-multifd", "repro", name]
    status, out, _ = call("recheck", path)
    assert status == 1
    assert f"    known deviation: {name}\n    cause: vfio_pci_load_config() writes only" in out
    assert f"    reproduce with: vfio-multifd repro {name}\n" in out


def test_unknown_violation_is_not_called_known(call, tmp_path):
    status, out, _ = call("recheck", save(violated_run(), tmp_path), "--json")
    (run,) = json.loads(out)["runs"]
    assert (status, run["known"], run["deviations"]) == (1, None, [])


def test_report_of_no_known_type_is_refused_before_anything_is_judged(call, tmp_path):
    status, out, err = call("recheck", save(valid_run(), tmp_path), "--report", tmp_path / "x.pdf")
    assert (status, out) == (4, "")
    assert "x.pdf: unknown report type" in one_line(err)
