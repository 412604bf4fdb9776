"""The GitHub action: its schema, its inputs, and where they go."""

import re

import pytest

from tests.unit.ci.pipelines import GITHUB, ROOT, loaded, schema_errors

SCHEMA = "vendor.github-actions"


@pytest.fixture
def action():
    (found,) = loaded(GITHUB.read_text())
    return found


def test_it_is_what_github_takes(action, tmp_path):
    assert not schema_errors(action, SCHEMA, tmp_path / "action.json")


@pytest.mark.parametrize(
    "change", [{"runs": {"using": "magic"}}, {"inputs": 5}, {"outputs": {"x": {}}}]
)
def test_schema_refuses_what_is_wrong(action, tmp_path, change):
    assert schema_errors({**action, **change}, SCHEMA, tmp_path / "action.json")


def test_each_input_is_used_and_each_that_is_used_is_declared(action):
    used = set(re.findall(r"\$\{\{ inputs\.([a-z-]+) \}\}", GITHUB.read_text()))
    assert used == set(action["inputs"])


def test_no_input_is_a_piece_of_a_command(action):
    for step in action["runs"]["steps"]:
        assert "${{" not in step.get("run", "")


def test_harness_is_found_from_the_action(action):
    (step,) = [each for each in action["runs"]["steps"] if "run" in each]
    assert step["env"]["HARNESS"] == "${{ github.action_path }}/../.."
    assert (GITHUB.parent / "../../ci/suites.sh").resolve() == ROOT / "ci/suites.sh"
    assert '"$HARNESS/ci/suites.sh"' in step["run"]


def test_results_are_published_however_it_ended(action):
    upload = action["runs"]["steps"][-1]
    assert upload["if"] == "always()"
    assert upload["with"]["path"] == "${{ inputs.results }}"
