"""The includable GitLab job: its schema, its inputs, and where they go."""

import re

import pytest

from tests.unit.ci.pipelines import GITLAB, ROOT, gitlab, loaded, schema_errors

SCHEMA = "vendor.gitlab-ci"


@pytest.fixture
def job():
    _, jobs = gitlab()
    (job,) = jobs.values()
    return job


def test_both_documents_are_what_gitlab_takes(tmp_path):
    head, _ = GITLAB.read_text().split("\n---\n")
    assert not schema_errors(loaded(head)[0], SCHEMA, tmp_path / "head.json")
    _, jobs = gitlab(needs=["build"], tags=["x86"])
    assert not schema_errors(jobs, SCHEMA, tmp_path / "jobs.json")


@pytest.mark.parametrize(
    "change", [{"script": 5}, {"artifacts": {"when": "maybe"}}, {"no such key": 1}]
)
def test_schema_refuses_what_is_wrong(job, tmp_path, change):
    assert schema_errors({"job": {**job, **change}}, SCHEMA, tmp_path / "jobs.json")


def test_each_input_is_used_and_each_that_is_used_is_declared():
    head, body = GITLAB.read_text().split("\n---\n")
    used = set(re.findall(r"\$\[\[ inputs\.([a-z-]+) \]\]", body))
    assert used == set(loaded(head)[0]["spec"]["inputs"])
    assert body.count("$[[") == len(re.findall(r"\$\[\[ inputs\.[a-z-]+ \]\]", body))


def test_inputs_reach_the_job():
    declared, jobs = gitlab(
        job="mine", stage="late", needs=["build"], qemu="build", suites="main unit", size=7
    )
    assert [name for name, told in declared.items() if "default" not in told] == ["image"]
    job = jobs["mine"]
    assert (job["stage"], job["needs"], job["image"]) == ("late", ["build"], "IMAGE")
    assert job["variables"]["QEMU"] == "build"
    assert job["variables"]["SUITES"] == "main unit"
    assert job["variables"]["LIMIT"] == "7"


def test_no_input_is_a_piece_of_a_command(job):
    _, body = GITLAB.read_text().split("\n---\n")
    script = body[body.index("  script:") : body.index("  retry:")]
    assert "$[[" not in script
    words = re.findall(r'"\$\w+"', script)
    assert {word.strip('"$') for word in re.findall(r'"?\$\w+"?', script)} == set(job["variables"])
    assert len(words) == len(re.findall(r"\$\w+", script)) - 1, "one is not quoted"


def test_what_is_published_is_what_the_script_leaves(job):
    results = job["variables"]["RESULTS"]
    assert job["artifacts"]["when"] == "always"
    assert job["artifacts"]["paths"] == [f"{results}/"]
    assert job["artifacts"]["reports"]["junit"] == f"{results}/junit-*.xml"
    assert "$results/junit-$suite.xml" in (ROOT / "ci/suites.sh").read_text()
    assert job["retry"]["exit_codes"] == [3]
