"""The folder of a migration's sockets: its owner's alone, and there no longer than needed."""

import os
import stat
from pathlib import Path

import pytest

from harness.errors import PrerequisiteMissing
from harness.proxy.address import UnixAddress
from harness.scenario import Scenario, Transport
from harness.vm.sockets import DESTINATION, FOLDER, RELAY, Sockets

UNIX = Scenario(name="x")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], ids=oct)
def test_nobody_else_enters_it(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        Sockets(UNIX, tmp_path).make()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / FOLDER).stat().st_mode) == 0o700
    assert not list((tmp_path / FOLDER).iterdir())


def test_names_are_short_and_in_it() -> None:
    for name in (DESTINATION, RELAY):
        assert Path(name).parent == Path(FOLDER)
    assert DESTINATION != RELAY


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.FILE])
def test_migration_without_unix_sockets_has_none(tmp_path: Path, transport: Transport) -> None:
    sockets = Sockets(Scenario(name="x", transport=transport), tmp_path)
    sockets.make()
    assert not list(tmp_path.iterdir())
    sockets.remove()


def test_it_is_removed_with_what_was_left_in_it(tmp_path: Path) -> None:
    """A QEMU that was killed leaves its socket."""
    sockets = Sockets(UNIX, tmp_path)
    sockets.remove()  # before it is there
    sockets.make()
    UnixAddress(DESTINATION, tmp_path).listen().close()
    sockets.remove()
    assert not list(tmp_path.iterdir())
    sockets.remove()


def test_folder_that_another_has_made_is_not_used(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    with pytest.raises(PrerequisiteMissing, match=f"{FOLDER}: .*File exists"):
        Sockets(UNIX, tmp_path).make()


def test_file_system_without_sockets_is_named_before_any_qemu_is_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_address: UnixAddress) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(UnixAddress, "listen", refuse)
    with pytest.raises(PrerequisiteMissing, match="cannot make a unix socket") as told:
        Sockets(UNIX, tmp_path).make()
    assert "Operation not permitted" in str(told.value)
    assert "--runs" in str(told.value)
    assert "\n" not in str(told.value)
