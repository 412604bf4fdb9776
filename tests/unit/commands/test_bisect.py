"""What a step of git bisect is asked."""

from pathlib import Path

import pytest

from harness import bisect
from harness.bisect import Answer


@pytest.fixture
def steps(monkeypatch):
    seen = []

    def answer(step, tell):
        seen.append(step)
        tell("told")
        return Answer.GOOD

    monkeypatch.setattr(bisect, "bisect", answer)
    return seen


def test_answer_is_the_exit_status(call, steps):
    status, out, _ = call("bisect", "ORD-1")
    assert status == 0
    assert out == "told\nORD-1: good\n"
    (step,) = steps
    assert (step.asked, step.tree, step.build_dir) == ("ORD-1", Path(), Path("build"))
    assert step.runs_dir == Path(".cache/vfio-multifd")


def test_fix_is_looked_for(call, steps):
    assert call("bisect", "ORD-1", "--fixed")[:2] == (1, "told\nORD-1: bad\n")


def test_all_of_it_is_passed_on(call, steps):
    call("bisect", "ORD-1", "--scenario", "a", "--scenario", "b", "--tries", "7", "--tree", "t",
         "--build-dir", "d", "--configure=--x '--y z'", "--build", "make", "--runs", "r",
         "--qemu-src", "s", "--qemu-dst", "q")  # fmt: skip
    assert steps == [
        bisect.Step(
            asked="ORD-1", tree=Path("t"), build_dir=Path("d"), runs_dir=Path("r"), build="make",
            configure=["--x", "--y z"], paths=[Path("a"), Path("b")], source="s",
            destination="q", tries=7,
        )
    ]  # fmt: skip


def test_number_of_tries_that_is_none_is_refused(call, steps):
    assert call("bisect", "ORD-1", "--tries", "0")[0] == 4
    assert not steps
