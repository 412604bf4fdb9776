"""``git bisect run ci/bisect.sh`` over a small tree, in which one commit brings another QEMU.

The tree's build puts one of two real builds into place, as a compiler would.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.vm import builds, fetched

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "ci" / "bisect.sh"
HELLO = "ref-10-hello-number-of-channels"
BUILD = """\
#!/bin/sh
set -e
. ./origin
rm -rf build
mkdir build
ln -s "$TREE/qemu-system-x86_64" build/
ln -s "$TREE/usr/share/qemu" build/trace
build/qemu-system-x86_64 --version
"""


@pytest.fixture(scope="module")
def pair() -> tuple[Path, Path]:
    """Folders of a fetched QEMU that has the finding ``HELLO``, and of one that has not."""
    found = {builds.version_of(path) < (11, 0): path.parent for path in fetched.binaries()}
    if len(found) < 2:
        pytest.skip("needs QEMU 10.0 and 11: vfio-multifd qemu fetch debian-13 debian-13-backports")
    if shutil.which("git") is None:
        pytest.skip("needs git")
    return found[True], found[False]


@pytest.fixture
def tree(tmp_path, pair):
    """Makes a repository of such commits, oldest first: their subjects and QEMUs."""
    folder = tmp_path / "tree"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "build.sh").write_text(BUILD)
    (folder / ".gitignore").write_text("/build/\n/.cache/\n")

    def make(*commits: tuple[str, Path]) -> Path:
        for subject, origin in commits:
            (folder / "origin").write_text(f"TREE={origin}\n# {subject}\n")
            git(folder, "add", ".")
            git(folder, "commit", "--quiet", "--message", subject)
        return folder

    return make


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def answer(folder: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [SCRIPT, *arguments, "--build", "sh build.sh"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_bisection_finds_the_commit_that_brought_the_finding(tree, pair) -> None:
    bad, good = pair
    folder = tree(
        ("good 1", good), ("good 2", good), ("no build", Path("/none")), ("good 3", good),
        ("culprit", bad), ("bad 2", bad), ("bad 3", bad),
    )  # fmt: skip
    git(folder, "bisect", "start", "HEAD", "HEAD~6")
    said = git(
        folder, "bisect", "run", str(SCRIPT), HELLO, "--tries", "40", "--build", "sh build.sh"
    )
    subject = git(folder, "show", "--no-patch", "--format=%s", "refs/bisect/bad").strip()
    assert subject == "culprit", said


def test_bisection_for_the_fix_turns_the_answer(tree, pair) -> None:
    bad, good = pair
    folder = tree(("bad", bad))
    assert answer(folder, HELLO, "--fixed", "--tries", "40")[0] == 0
    tree(("good", good))
    assert answer(folder, HELLO, "--fixed", "--tries", "2")[0] == 1


def test_requirement_that_is_kept_is_good_and_leaves_no_run(tree, pair) -> None:
    _, good = pair
    folder = tree(("good", good))
    status, said = answer(folder, "REF-1")
    assert status == 0, said
    assert [path.name for path in (folder / ".cache" / "vfio-multifd").iterdir()] == ["build.log"]


def test_violation_that_is_known_is_no_answer_about_the_requirement(tree, pair) -> None:
    folder = tree(("one", pair[1]))
    known = ROOT / "harness" / "job" / "findings" / "ref-10-unknown-flags.json"
    status, said = answer(folder, "REF-10", "--scenario", str(known))
    assert status == 125, said
    assert "known deviation ref-10-unknown-flags" in said
    assert answer(folder, "ref-10-unknown-flags")[0] == 1


def test_tree_that_does_not_build_cannot_be_judged(tree) -> None:
    status, said = answer(tree(("no build", Path("/none"))), "REF-1")
    assert status == 125
    assert "cannot be judged: sh ended with status" in said


@pytest.mark.parametrize(
    "arguments", [("REF-99",), ("REF-1", "--scenario", "/none.json"), ("REF-1", "--tries", "0")]
)
def test_question_that_no_commit_can_answer_stops_the_bisection(tree, pair, arguments) -> None:
    assert answer(tree(("one", pair[1])), *arguments)[0] == 255
