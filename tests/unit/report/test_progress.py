"""Progress: one line a run, and on a terminal the step of the present one."""

import io

import pytest
from rich.console import Console

from harness.report.progress import Progress
from tests.unit.saved_runs import entry, valid_run


def told(*, is_live: bool, is_silent: bool = False, steps: io.StringIO | None = None) -> str:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=is_live)
    with Progress(
        lambda: console, 2, is_live=is_live, is_silent=is_silent, steps=steps
    ) as progress:
        progress.step("first", "start")
        progress.step("first", "migrate")
        progress.end(entry(valid_run()))
    return out.getvalue()


def test_plain_progress_is_one_line_for_each_run_that_ended():
    text = told(is_live=False)
    assert text.count("\n") == 1
    assert text.split()[:2] == ["1", "valid"]
    assert "migrate" not in text


def test_live_progress_names_the_run_and_its_step():
    text = told(is_live=True)
    assert "1 of 2  first: migrate" in text


def test_silent_progress_says_nothing():
    assert told(is_live=False, is_silent=True) == ""
    assert told(is_live=True, is_silent=True) == ""


@pytest.mark.parametrize("is_live", [False, True])
@pytest.mark.parametrize("is_silent", [False, True])
def test_steps_are_lines_where_they_are_wanted_also_without_a_line_for_each_run(is_live, is_silent):
    steps = io.StringIO()
    text = told(is_live=is_live, is_silent=is_silent, steps=steps)
    assert steps.getvalue() == "     first: start\n     first: migrate\n"
    assert ("valid" in text) is not is_silent
