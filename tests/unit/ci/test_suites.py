"""What ci/suites.sh says to bad input; what it does with QEMUs: tests/functional/test_ci.py."""

import io
import os
import subprocess
import tarfile

import pytest

from tests.unit.ci.pipelines import ROOT


@pytest.fixture
def call(tmp_path):
    """Calls it in a folder of its own: status, and what it says on standard error.

    A test sets nothing up: ``make``, which would, is one that records that it was called.
    """
    made = tmp_path / "bin" / "made"
    make = made.with_name("make")
    make.parent.mkdir()
    make.write_text(f'#!/bin/sh\necho "$@" >>{made}\n')
    make.chmod(0o755)
    environment = {**os.environ, "PATH": f"{make.parent}:{os.environ['PATH']}"}

    def call(*options: str, sets_up: bool = False) -> tuple[int, str]:
        done = subprocess.run(
            [ROOT / "ci/suites.sh", *options], env=environment,
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.stdout == ""
        assert made.exists() is sets_up, "a usage error takes no set-up"
        return done.returncode, done.stderr

    return call


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--suite", "main"], "--suite: unknown option (choose from --qemu,"),
        (["--qemu"], "--qemu: a value is missing"),
        (["--suites", "main all"], "--suites: no suite all (choose from main,"),
        (["--suites", "mine.json"], "--suites: no scenario mine.json in "),
        (["--suites", " "], "--suites: the list is empty"),
        (["--limit", "much"], "--limit: much is not a number of MiB"),
        (["--qemu", "./build"], "/./build does not exist"),
        (["--qemu-dst", "../build.tar.gz", "--qemu", "."], "build.tar.gz does not exist"),
    ],
)
def test_bad_option_is_one_line_and_exit_4(call, tmp_path, options, words):
    status, said = call(*options)
    assert status == 4
    (line,) = said.splitlines()
    assert line.startswith("suites: ")
    assert words in line


def test_archive_without_a_qemu_is_one_line(call, tmp_path):
    with tarfile.open(tmp_path / "build.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("build/README"), io.BytesIO())
    status, said = call("--qemu", "build.tar.gz")
    assert (status, said) == (
        4,
        "suites: --qemu: no qemu-system-x86_64 in build.tar.gz\n",
    )


def test_folder_of_somebody_else_is_not_removed(call, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results/thesis.tex").write_text("all of it")
    status, said = call()
    assert status == 4
    assert "has no results of ci/suites.sh" in said
    assert (tmp_path / "results/thesis.tex").read_text() == "all of it"


def test_unknown_build_is_one_line_that_names_those_that_there_are(call):
    status, said = call("--qemu", "debian-99", sets_up=True)
    assert status == 4
    (line,) = said.splitlines()
    assert "debian-99" in line
    assert "debian-13" in line
