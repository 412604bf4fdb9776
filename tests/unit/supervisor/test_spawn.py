"""How a process of ours is started."""

import os
import subprocess

import pytest

from harness.supervisor.spawn import Spawn


def says(script: str, **settings) -> str:
    process = Spawn(argv=["sh", "-c", script], stdout=subprocess.PIPE, **settings).start()
    output, _ = process.communicate(timeout=60)
    return output.decode().strip()


def test_process_has_a_session_of_its_own_unless_it_is_in_the_foreground():
    script = "cut -d ' ' -f 6 /proc/$$/stat"
    assert int(says(script)) != os.getsid(0)
    assert int(says(script, is_foreground=True)) == os.getsid(0)


def test_process_reads_nothing_and_inherits_what_it_is_given(tmp_path):
    given, kept = os.memfd_create("given"), os.memfd_create("kept", 0)
    os.set_inheritable(kept, True)
    listing = says("read line || ls /proc/$$/fd", pass_fds=(given,)).split()
    os.close(given)
    os.close(kept)
    assert str(given) in listing
    assert str(kept) not in listing


def test_environment_and_folder_are_ours_unless_given(tmp_path, monkeypatch):
    monkeypatch.setenv("WORD", "ours")
    assert says("echo $WORD; pwd").split() == ["ours", os.getcwd()]  # noqa: PTH109
    assert says("echo $WORD; pwd", env={"WORD": "its"}, cwd=tmp_path).split() == [
        "its", str(tmp_path),
    ]  # fmt: skip


def test_files_that_it_makes_are_private(tmp_path):
    says(": >file", cwd=tmp_path)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_missing_program_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Spawn(argv=[str(tmp_path / "none")]).start()
