"""From a report to the messages of avocado: each status apart."""

import json
from pathlib import Path

import pytest
from avocado.core.nrunner.runnable import Runnable

from harness.avocado_plugin import scenario_runner
from harness.check.judge import TITLES, judge
from harness.check.verdict import Finding, Outcome, Verdict
from harness.history.rundir import load
from harness.report import json_report
from harness.report.summary import Entry, Report
from tests.unit.avocado_plugin.test_pytest_runner import child

DATA = Path(__file__).parents[2] / "data"


def saved(name: str) -> Entry:
    history = load(DATA / name)
    return Entry(name=Path(name).name, manifest=history.manifest, verdict=judge(history))


def unknown() -> Entry:
    finding = Finding(requirement="ORD-1", outcome=Outcome.UNKNOWN, sentence="no trace")
    return Entry(name="u", verdict=Verdict.of([finding], {}))


def messages(*entries: Entry) -> list[dict]:
    report = Report(entries=entries, titles=TITLES)
    return list(scenario_runner.result(json_report.document(report), child(), b""))


@pytest.mark.parametrize(
    ("entry", "result", "status", "words"),
    [
        (saved("good/two-devices"), "pass", "valid", ""),
        (saved("violated/ORD-1/lost-buffer"), "fail", "violated", "violated: ORD-1: vfio0"),
        (unknown(), "error", "unknown", "unknown: ORD-1: no trace"),
        (Entry(name="l", error="disk full"), "error", "lost", "lost: disk full"),
        (Entry(name="s", error="no rig", missing=True), "skip", "skipped", "skipped: no rig"),
    ],
    ids=["valid", "violated", "unknown", "lost", "missing"],
)
def test_statuses_are_told_apart(entry, result, status, words):
    *_, last = messages(entry)
    assert last["result"] == result
    assert last["fail_class"] == status
    assert last.get("fail_reason", "").startswith(words)


def test_one_lost_run_of_two_is_lost_not_skipped():
    gone = Entry(name="s", error="no rig", missing=True)
    *_, last = messages(gone, Entry(name="l", error="disk full"))
    assert last["fail_class"] == "lost"


def test_numbers_stand_on_the_whiteboard():
    first, _ = messages(saved("good/two-devices"))
    (run,) = json.loads(first["log"])["runs"]
    assert run["outcome"] == "valid"
    assert run["requirements"]["ORD-1"]["outcome"] == "valid"
    assert any(len(numbers) > 1 for numbers in run["requirements"].values())


def test_error_before_any_run_is_told():
    told = json_report.failure("no such QEMU", missing=True, exit_status=3)
    *_, last = scenario_runner.result(told, child(3), b"")
    assert (last["result"], last["fail_reason"]) == ("skip", "skipped: no such QEMU")
    told = json_report.failure("no space", missing=False, exit_status=3)
    *_, last = scenario_runner.result(told, child(3), b"")
    assert (last["result"], last["fail_reason"]) == ("error", "lost: no space")
    told = json_report.failure("not a scenario", missing=False, exit_status=4)
    *_, last = scenario_runner.result(told, child(4), b"")
    assert (last["result"], last["fail_reason"]) == ("error", "usage: not a scenario")


def test_run_that_says_nothing_is_lost_with_its_last_words():
    (last,) = scenario_runner.result(b"", child(-9), b"Traceback\nMemoryError\n")
    assert last["result"] == "error"
    assert last["fail_reason"].startswith("lost: the run ended by SIGKILL")
    assert "MemoryError" in last["fail_reason"]


def test_run_that_was_told_to_end_is_interrupted():
    (last,) = scenario_runner.result(b"", child(terminated=True), b"")
    assert last["result"] == "interrupted"


def test_what_cannot_run_is_skipped_with_the_reason_without_being_started():
    *_, last = scenario_runner.ScenarioRunner().run(Runnable("vfio-multifd", "x", skip="no pci"))
    assert (last["result"], last["fail_reason"]) == ("skip", "skipped: no pci")


def test_command_has_parameters_and_the_output_directory(tmp_path):
    leaves = [["/", [["/", "qemu", "/q"]]]]
    runnable = Runnable("vfio-multifd", "s.json", variant={"variant": leaves, "variant_id": "v"},
                        output_dir=str(tmp_path))  # fmt: skip
    argv = scenario_runner.command(runnable)
    assert "--qemu=/q" in argv
    assert argv[-2:] == ["--", "s.json"]
    assert str(tmp_path / "runs") in argv
