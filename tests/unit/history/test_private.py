"""What is private is so from the first byte, under any umask; what is the user's is let be."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from harness.history import private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o027], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_file_is_its_owners_alone(umask, tmp_path):
    private.write(tmp_path / "file", b"secret")
    assert mode(tmp_path / "file") == 0o600
    assert (tmp_path / "file").read_bytes() == b"secret"


def test_file_is_private_before_anything_is_in_it(umask, tmp_path):
    with open(tmp_path / "file", "xb", opener=private.opener):
        assert mode(tmp_path / "file") == 0o600


def test_file_that_is_there_keeps_the_mode_that_the_user_gave_it(tmp_path):
    (tmp_path / "file").touch(0o640)
    (tmp_path / "file").chmod(0o640)
    private.write(tmp_path / "file", b"x")
    assert mode(tmp_path / "file") == 0o640


def test_folder_is_its_owners_alone(umask, tmp_path):
    private.make_folder(tmp_path / "run")
    assert mode(tmp_path / "run") == 0o700


def test_folder_that_is_there_is_not_taken_for_ours(tmp_path):
    """Another user may have made it, in a place that all may write to."""
    with pytest.raises(FileExistsError):
        private.make_folder(tmp_path)


def test_folders_above_are_private_where_they_are_made_and_left_where_they_are_there(
    umask, tmp_path
):
    users = tmp_path / "runs"
    users.mkdir()
    users.chmod(0o755)
    private.make_folders(users / "a" / "b")
    assert (mode(users), mode(users / "a"), mode(users / "a" / "b")) == (0o755, 0o700, 0o700)
    private.make_folders(users / "a" / "b")  # again does nothing


def test_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        private.make_folders(tmp_path / "file" / "runs")


def test_umask_makes_what_a_child_creates_private(umask, tmp_path):
    code = "import os,sys; os.mkdir(sys.argv[1]); open(sys.argv[2], 'w')"
    folder, file = tmp_path / "folder", tmp_path / "file"
    subprocess.run([sys.executable, "-c", code, folder, file], umask=private.UMASK, check=True)
    assert (mode(folder), mode(file)) == (0o700, 0o600)
