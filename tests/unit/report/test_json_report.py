"""The report for programs: one JSON document that says what the exit status says."""

import json
from pathlib import Path

from harness.check.verdict import from_json
from harness.report import json_report
from tests.unit.report.test_ci_points import known
from tests.unit.saved_runs import entry, lost, report, valid_run, violated_run

PATH = Path("runs/liar-0001")


def document(*entries, **fields):
    return json.loads(json_report.document(report(*entries, **fields)))


def test_document_says_what_the_exit_status_says():
    for entries, fields, overall, status in (
        ((entry(valid_run()),), {}, "valid", 0),
        ((entry(violated_run()),), {}, "violated", 1),
        ((entry(violated_run()), lost()), {}, "lost", 3),
        ((entry(valid_run()),), {"interrupted": "run 2"}, "interrupted", 130),
    ):
        found = document(*entries, **fields)
        assert (found["overall"], found["exit_status"]) == (overall, status)


def test_verdict_is_as_in_the_run_directory():
    one = entry(violated_run(), PATH)
    (run,) = document(one)["runs"]
    assert from_json(json.dumps(run["verdict"]).encode()) == one.verdict
    assert run["path"] == str(PATH)
    assert run["recheck"] == ["vfio-multifd", "recheck", str(PATH)]
    assert run["source"]["version"] == "10.0.2 Debian"


def test_requirement_shows_the_numbers_of_the_runs_that_judged_it():
    found = document(entry(valid_run()), entry(violated_run()), entry(valid_run()))
    ord_1 = next(row for row in found["requirements"] if row["id"] == "ORD-1")
    assert ord_1["outcome"] == "violated"
    assert (ord_1["violated"], ord_1["valid"]) == ([2], [1, 3])
    set_3 = next(row for row in found["requirements"] if row["id"] == "SET-3")
    assert set_3["outcome"] == "not applicable"
    assert set_3["why_not"]


def test_lost_run_has_its_error_and_no_verdict():
    (run,) = document(lost("no disk"))["runs"]
    assert run["outcome"] == "lost"
    assert run["error"] == "no disk"
    assert run["verdict"] is None


def test_failure_before_any_run_is_a_document_too():
    found = json.loads(json_report.failure("no such file", missing=True, exit_status=3))
    assert (found["overall"], found["exit_status"], found["runs"]) == ("lost", 3, [])
    assert found["error"] == "no such file"
    assert found["missing"] is True


def test_run_that_was_left_out_says_why():
    left_out = lost("/qemu: this build has no TLS").as_left_out()
    found = json.loads(json_report.document(report(entry(valid_run()), left_out)))
    assert found["exit_status"] == 0
    told = found["runs"][1]
    assert (told["outcome"], told["left_out"]) == ("left out", "/qemu: this build has no TLS")


def test_requirement_that_met_a_known_deviation_is_not_judged():
    found = document(known(entry(violated_run())))
    ord_1 = next(row for row in found["requirements"] if row["id"] == "ORD-1")
    assert (ord_1["outcome"], ord_1["met_known"]) == ("not judged", [1])
    assert ord_1["why_not"] == "met the known deviation set-4-it-competes in run 1"
    set_3 = next(row for row in found["requirements"] if row["id"] == "SET-3")
    assert (set_3["outcome"], set_3["met_known"]) == ("not applicable", [])
