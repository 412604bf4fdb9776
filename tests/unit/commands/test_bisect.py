"""A step of git bisect: what is built, what is run, and what the answer is."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from harness.check.deviations import Deviation
from harness.check.judge import judge
from harness.check.verdict import Finding, Outcome, Verdict
from harness.commands import bisect
from harness.commands.bisect import Answer, Step, Unbuilt
from harness.errors import PrerequisiteMissing, UsageError, VMError
from harness.job import findings
from harness.job.run import Run
from harness.scenario import Scenario, to_json
from harness.vm.builds import BINARY, Probe
from tests.unit.check.histories import FACTS, good

KNOWN = Deviation(requirement="REF-1", case="twice", versions=">=10.0", shape="old", cause="old")
OTHERS = Deviation(requirement="REF-7", case="alike", versions=">=10.0", shape="so", cause="other")
RARE = Deviation(
    requirement="REF-1", case="rare", versions=">=11.0", shape="rare", cause="x", intermittent=True
)


@pytest.fixture(autouse=True)
def known(monkeypatch):
    deviations = (KNOWN, OTHERS, RARE)
    monkeypatch.setattr(bisect, "known_deviations", lambda: deviations)
    monkeypatch.setattr("harness.job.known.known_deviations", lambda: deviations)


@pytest.fixture
def step(tmp_path):
    """About REF-1, of a tree that its build makes a QEMU in."""
    tree = tmp_path / "tree"
    tree.mkdir()
    program = f"printf '#!/bin/sh\\necho QEMU emulator version 10.0.2' >build/{BINARY}"
    return Step(
        asked="REF-1",
        tree=tree,
        build_dir=Path("build"),
        runs_dir=tmp_path / "runs",
        build=f"mkdir -p build; {program}; chmod +x build/{BINARY}",
    )


def verdict(outcome: Outcome, shape: str = "so", requirement: str = "REF-1") -> Verdict:
    return Verdict.of(
        [Finding(requirement=requirement, outcome=outcome, sentence="so", shape=shape)], {}
    )


VALID, VIOLATED, UNKNOWN = (verdict(outcome) for outcome in Outcome)


def run_of(tmp_path: Path, judged: Verdict) -> Run:
    return Run(tmp_path, good("multifd"), judged)


@pytest.fixture
def outcomes(monkeypatch, tmp_path):
    """Each run ends as the next of these; what was run is in ``ran``."""

    class Outcomes:
        ran: list[Scenario]

        def __init__(self) -> None:
            self.ran, self.folders = [], []

        def be(self, *ends: Verdict | Exception) -> None:
            left = iter(ends)

            async def run_scenario(wanted: Scenario, runs_dir: Path) -> tuple[Run, ...]:
                self.ran.append(wanted)
                end = next(left)
                if isinstance(end, Exception):
                    raise end
                folder = runs_dir / f"run-{len(self.ran)}"
                folder.mkdir(parents=True)
                self.folders.append(folder)
                return (run_of(folder, end),)

            monkeypatch.setattr(bisect, "run_scenario", run_scenario)

    monkeypatch.setattr("harness.vm.builds.probe_now", lambda _path: Probe(FACTS, (), True))
    return Outcomes()


@pytest.fixture
def one_scenario(step, tmp_path):
    path = tmp_path / "wanted.json"
    path.write_bytes(to_json(Scenario(name="wanted")))
    return replace(step, paths=(path,))


@pytest.fixture
def told():
    return []


# -- what is asked ------------------------------------------------------------------------


def test_name_that_nobody_knows_is_refused(step):
    with pytest.raises(UsageError, match=r"REF-99: neither .*; did you mean REF-9\?"):
        bisect.bisect(replace(step, asked="REF-99"), print)


def test_folder_that_is_no_tree_is_refused(step):
    with pytest.raises(UsageError, match="is not a QEMU source tree"):
        bisect.bisect(replace(step, build=""), print)


def test_tree_needs_ninja(step, monkeypatch):
    (step.tree / "configure").touch()
    monkeypatch.setenv("PATH", str(step.tree))
    with pytest.raises(PrerequisiteMissing, match="ninja"):
        bisect.bisect(replace(step, build=""), print)


@pytest.mark.parametrize("side", ["source", "destination"])
def test_other_qemu_that_is_not_there_is_refused(step, side):
    with pytest.raises(PrerequisiteMissing, match="no such QEMU"):
        bisect.bisect(replace(step, **{side: "/none/qemu"}), print)


def test_scenario_that_cannot_be_read_is_refused(step):
    with pytest.raises(UsageError, match=r"gone\.json"):
        bisect.bisect(replace(step, paths=(Path("gone.json"),)), print)


def test_scenario_that_cannot_be_run_is_refused_before_anything_is_built(step, tmp_path):
    path = tmp_path / "bad.json"
    path.write_bytes(to_json(Scenario(name="bad", seed=-1)))
    with pytest.raises(UsageError, match="bad: seed is -1"):
        bisect.bisect(replace(step, paths=(path,)), print)


def test_each_finding_can_be_asked_for(step, monkeypatch):
    monkeypatch.undo()
    for deviation in findings.named(()):
        asked = replace(step, asked=deviation.name)
        asked.check()
        assert asked.requirement == deviation.requirement


# -- build --------------------------------------------------------------------------------


def test_tree_is_configured_once_and_built_each_time(step, monkeypatch, tmp_path, told):
    calls = tmp_path / "calls"
    (step.tree / "configure").write_text(f'#!/bin/sh\necho "$@" >>{calls}; touch build.ninja\n')
    (step.tree / "configure").chmod(0o755)
    (tmp_path / "bin").mkdir()
    ninja = tmp_path / "bin" / "ninja"
    ninja.write_text(f'#!/bin/sh\necho ninja "$@" >>{calls}; touch {BINARY}; chmod +x {BINARY}\n')
    ninja.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ninja.parent}:/usr/bin:/bin")
    step = replace(step, build="", configure=("--enable-x",))
    for _ in range(2):
        assert bisect.make(step, told.append) == step.tree / "build" / BINARY
    configured, *built = calls.read_text().splitlines()
    assert configured.startswith("--target-list=x86_64-softmmu --enable-trace-backends=log")
    assert configured.endswith("--enable-x")
    assert built == [f"ninja {BINARY} trace/trace-events-all"] * 2


def test_build_that_fails_tells_its_last_words_and_the_log(step, told):
    failing = replace(step, build="echo one; echo two >&2; exit 3")
    log = step.runs_dir / "build.log"
    with pytest.raises(Unbuilt, match=f"sh ended with status 3: two; see {log}"):
        bisect.make(failing, told.append)
    assert log.read_text() == "one\ntwo\n"


def test_compilers_error_says_more_than_ninjas_last_words(step, told):
    text = "cc -Werror x.c\\nx.c:3: error: no such thing\\nninja: build stopped"
    with pytest.raises(Unbuilt, match=r"status 1: x\.c:3: error: no such thing; see"):
        bisect.make(replace(step, build=f"printf '{text}'; exit 1"), told.append)


def test_commit_that_does_not_build_cannot_be_judged(step, told):
    assert bisect.bisect(replace(step, build="exit 1"), told.append) is Answer.SKIP
    assert told[0].startswith("cannot be judged: sh ended with status 1")


def test_build_without_a_binary_cannot_be_judged(step, told):
    assert bisect.bisect(replace(step, build="true"), told.append) is Answer.SKIP


def test_qemu_that_is_too_old_cannot_be_judged(step, told):
    old = replace(step, build=step.build.replace("10.0.2", "9.2.0"))
    assert bisect.bisect(old, told.append) is Answer.SKIP
    assert "has no multifd transfer" in told[-1]


def test_interrupt_ends_the_build(step, monkeypatch, tmp_path):
    """Its whole group is told to end; and it is waited for."""
    ended = tmp_path / "ended"
    wait = subprocess.Popen.wait
    begun = tmp_path / "begun"
    os.mkfifo(begun)

    def interrupt_first(self, timeout=None):
        if not ended.exists() and not getattr(self, "seen", False):
            self.seen = True
            begun.read_text()  # until it has
            raise KeyboardInterrupt
        return wait(self, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", interrupt_first)
    build = f"trap 'touch {ended}; exit 1' TERM; echo >{begun}; while :; do sleep 0.05; done"
    with pytest.raises(KeyboardInterrupt):
        bisect.make(replace(step, build=build), print)
    assert ended.exists()


# -- answer -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "answer"),
    [
        (VALID, Answer.GOOD),
        (VIOLATED, Answer.BAD),
        (UNKNOWN, Answer.SKIP),
        (VMError("gone"), Answer.SKIP),
        (verdict(Outcome.VALID, requirement="ORD-1"), Answer.SKIP),
        (verdict(Outcome.VIOLATED, "old"), Answer.SKIP),
    ],
    ids=["valid", "violated", "unknown", "lost", "not asked", "known deviation"],
)
def test_one_run_decides(one_scenario, outcomes, told, end, answer):
    outcomes.be(end)
    assert bisect.bisect(one_scenario, told.append) is answer
    assert all("\n" not in line for line in told)


def test_known_deviation_of_another_requirement_excuses_nothing(one_scenario, outcomes, told):
    outcomes.be(verdict(Outcome.VIOLATED, OTHERS.shape))
    assert bisect.bisect(one_scenario, told.append) is Answer.BAD


def test_known_deviation_of_another_version_excuses_nothing(one_scenario, outcomes, told):
    outcomes.be(verdict(Outcome.VIOLATED, "rare"))
    assert bisect.bisect(one_scenario, told.append) is Answer.BAD


@pytest.mark.parametrize(
    ("ends", "answer"),
    [
        ([VALID, VALID, VIOLATED], Answer.BAD),
        ([VALID, VALID, VALID], Answer.GOOD),
        ([UNKNOWN, VMError("x"), VALID], Answer.GOOD),
        ([UNKNOWN, VMError("x"), UNKNOWN], Answer.SKIP),
    ],
)
def test_tries_end_at_the_first_that_is_bad(one_scenario, outcomes, told, ends, answer):
    outcomes.be(*ends)
    assert bisect.bisect(replace(one_scenario, tries=3), told.append) is answer


def test_each_scenario_has_to_be_judged(one_scenario, outcomes, told, tmp_path):
    other = tmp_path / "other.json"
    other.write_bytes(to_json(Scenario(name="other")))
    two = replace(one_scenario, paths=(*one_scenario.paths, other))
    outcomes.be(VALID, UNKNOWN)
    assert bisect.bisect(two, told.append) is Answer.SKIP
    assert told[-1] == f"cannot be judged: other: unknown: so; see {step_run(two, 2)}/"


def step_run(step: Step, number: int) -> Path:
    return step.runs_dir / f"run-{number}"


def test_only_runs_that_were_not_good_are_kept(one_scenario, outcomes, told):
    outcomes.be(VALID, UNKNOWN, VIOLATED)
    bisect.bisect(replace(one_scenario, tries=3), told.append)
    assert [folder.exists() for folder in outcomes.folders] == [False, True, True]


def test_second_migration_counts_too(step, tmp_path, monkeypatch, one_scenario, told, outcomes):
    async def run_scenario(_wanted: Scenario, _runs_dir: Path) -> tuple[Run, ...]:
        return run_of(tmp_path, VALID), run_of(tmp_path, VIOLATED)

    monkeypatch.setattr(bisect, "run_scenario", run_scenario)
    assert bisect.bisect(one_scenario, told.append) is Answer.BAD


def test_requirement_is_asked_by_those_of_the_main_job_that_ask(step, outcomes, told):
    outcomes.be(*[VALID] * 100)
    assert bisect.bisect(step, told.append) is Answer.GOOD
    names = {each.name for each in outcomes.ran}
    assert {"duplicate", "config-too-early"} <= names
    assert "two-devices" not in names, "nothing is damaged there"
    binary = str(step.tree / "build" / BINARY)
    assert {(each.qemu, each.qemu_dst) for each in outcomes.ran} == {(binary, binary)}


@pytest.mark.parametrize("side", ["source", "destination"])
def test_other_side_may_be_another_qemu(one_scenario, outcomes, told, tmp_path, side):
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\necho QEMU emulator version 11.1.3\n")
    other.chmod(0o755)
    outcomes.be(VALID)
    named = {"source": "", "destination": "", side: str(other)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.job.settings.builds.common_machine", lambda *_: "pc-q35-10.0")
        bisect.bisect(replace(one_scenario, **named), told.append)
    (ran,) = outcomes.ran
    tree = str(one_scenario.tree / "build" / BINARY)
    assert (ran.qemu, ran.qemu_dst) == (
        (str(other), tree) if side == "source" else (tree, str(other))
    )


# -- findings -----------------------------------------------------------------------------


@pytest.fixture
def of_finding(one_scenario):
    return replace(one_scenario, asked=RARE.name)


@pytest.mark.parametrize(
    ("end", "answer"),
    [
        (verdict(Outcome.VIOLATED, "rare"), Answer.BAD),
        (verdict(Outcome.VIOLATED, "otherwise"), Answer.GOOD),
        (VALID, Answer.GOOD),
        (UNKNOWN, Answer.SKIP),
    ],
    ids=["shown, whatever the version", "another violation", "valid", "unknown"],
)
def test_finding_is_bad_where_it_shows(of_finding, outcomes, told, end, answer):
    outcomes.be(end)
    assert bisect.bisect(replace(of_finding, tries=1), told.append) is answer


def test_finding_that_does_not_show_in_each_run_is_tried_often(of_finding, outcomes, told):
    outcomes.be(*[VALID] * bisect.TRIES)
    assert bisect.bisect(of_finding, told.append) is Answer.GOOD
    assert len(outcomes.ran) == bisect.TRIES


def test_answer_is_turned_where_the_fix_is_looked_for():
    assert [answer.turned for answer in Answer] == [Answer.BAD, Answer.GOOD, Answer.SKIP]
    assert [int(answer) for answer in Answer] == [0, 1, 125], "as git bisect run reads them"


def test_real_history_is_judged_for_what_is_asked(step):
    run = Run(Path("x"), good("multifd"), judge(good("multifd")))
    assert bisect.answer_of(replace(step, asked="ORD-1"), run)[0] is Answer.GOOD
    assert bisect.answer_of(step, run)[0] is None


# -- the command line --------------------------------------------------------------------


@pytest.fixture
def steps(monkeypatch):
    seen = []

    def answer(step, say):
        seen.append(step)
        say("told")
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
