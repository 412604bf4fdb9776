"""Where relays listen and connect, and who may connect to them."""

import errno
import os
import select
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.proxy.address import (
    Address,
    TcpAddress,
    UnixAddress,
    from_qmp,
    stranger,
    tune,
    within_reach,
)
from tests.unit.proxy.streams import TIMEOUT_S, new_address

OTHER_UID = 65534
AS_NOBODY = f"""
import os, socket, sys
os.setgroups([])
os.setresgid({OTHER_UID}, {OTHER_UID}, {OTHER_UID})
os.setresuid({OTHER_UID}, {OTHER_UID}, {OTHER_UID})
try:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(sys.argv[1])
        print("connected", flush=True)
        sys.stdin.read()
except OSError as error:
    print(error.strerror)
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


def _address(kind: str) -> Address:
    return new_address() if kind == "unix" else TcpAddress()


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_what_listens_can_be_connected_to(kind: str) -> None:
    address = _address(kind)
    with address.listen() as listener:
        address = address.bound(listener)
        folder = address.folder if isinstance(address, UnixAddress) else Path()
        assert from_qmp(address.qmp(), folder) == address
        with address.make_socket() as sock:
            tune(sock)
            address.connect(sock)
            assert select.select([listener], [], [], TIMEOUT_S)[0]
            accepted, _ = listener.accept()
            assert stranger(accepted) is None
            accepted.close()


def test_unix_listener_that_is_full_says_again() -> None:
    address = new_address()
    with address.listen(0):
        socks = [address.make_socket() for _ in range(3)]
        for sock in socks:
            tune(sock)
        errors = [address.connect(sock) for sock in socks]
        for sock in socks:
            sock.close()
    assert errors[0] == 0
    assert errors[-1] == errno.EAGAIN


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_queue_has_room_for_one_more_than_the_backlog(kind: str) -> None:
    address = _address(kind)
    with address.listen(0) as listener:
        onward = address.bound(listener)
        first, second = onward.make_socket(), onward.make_socket()
        with first, second:
            for sock in (first, second):
                sock.settimeout(TIMEOUT_S)
            assert onward.connect(first) == 0
            second.settimeout(0.2)
            assert onward.connect(second) == errno.EAGAIN


def test_tcp_port_is_found_when_it_is_bound() -> None:
    with TcpAddress().listen() as listener:
        assert TcpAddress().bound(listener).port == listener.getsockname()[1] > 0


def test_query_migrate_s_address_is_understood() -> None:
    answer = {"type": "inet", "host": "127.0.0.1", "port": "4444"}
    assert from_qmp(answer) == TcpAddress("127.0.0.1", 4444)


@pytest.mark.parametrize(
    "addr",
    [
        {"type": "unix", "path": "x", "abstract": True},
        {"transport": "exec", "args": ["cat"]},
        {"type": "vsock", "cid": "1", "port": "2"},
    ],
)
def test_other_kinds_are_refused(addr: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="a relay cannot connect"):
        from_qmp(addr)


# -- the file of a unix socket -----------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], ids=oct)
def test_only_the_owner_may_connect_whatever_the_umask_and_the_folder_are(umask: int) -> None:
    address = new_address()
    before = os.umask(umask)
    try:
        listener = address.listen()
    finally:
        os.umask(before)
    with listener:
        assert stat.S_IMODE((address.folder / address.path).stat().st_mode) == 0o600


def test_no_listener_has_an_abstract_name() -> None:
    with new_address().listen() as listener:
        assert not listener.getsockname().startswith(("\0", "@"))


def test_listener_that_is_gone_refuses_whether_its_file_is_there_or_not() -> None:
    """A QEMU removes it, one that was killed does not."""
    address = new_address()
    address.listen().close()
    for _ in range(2):
        with address.make_socket() as sock:
            assert address.connect(sock) == errno.ECONNREFUSED
        address.remove()
    address.remove()  # again does nothing


def test_error_of_the_folder_is_not_taken_for_a_listener_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    address = UnixAddress("x", tmp_path / "file")
    with address.make_socket() as sock:
        assert address.connect(sock) == errno.ENOTDIR


def test_path_of_any_length_can_be_listened_at_and_connected_to(tmp_path: Path) -> None:
    """sun_path has 108 bytes: a QEMU is given what is relative to its working directory."""
    folder = tmp_path.joinpath(*["a-long-name-" * 8] * 4)
    folder.mkdir(parents=True)
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    address = UnixAddress("sockets/relay", folder)
    (folder / "sockets").mkdir()
    with address.listen() as listener:
        with address.make_socket() as sock:
            sock.settimeout(TIMEOUT_S)
            assert address.connect(sock) == 0
        assert (folder / "sockets" / "relay").is_socket()
        listener.accept()[0].close()
    assert address.qmp()["path"] == "sockets/relay"
    address.remove()
    assert not (folder / "sockets" / "relay").exists()
    assert len(os.listdir("/proc/self/fd")) == descriptors  # noqa: PTH208


@pytest.mark.parametrize(("length", "is_short"), [(107, True), (108, False)])
def test_longest_path_is_unix_7_s(tmp_path: Path, length: int, is_short: bool) -> None:
    path = tmp_path / ("x" * (length - len(str(tmp_path)) - 1))
    with within_reach(path) as name, socket.socket(socket.AF_UNIX) as sock:
        assert (name == str(path)) is is_short
        sock.bind(name)
    assert path.is_socket()


# -- strangers ---------------------------------------------------------------------------


def test_peer_of_our_own_user_is_none() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert stranger(ours) is None


def test_peer_of_another_user_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    with ours, theirs:
        assert stranger(ours) == {"pid": os.getpid(), "uid": uid}


def test_tcp_knows_no_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: -1)
    with TcpAddress().make_socket() as sock:
        assert stranger(sock) is None


@as_root
@pytest.mark.parametrize("is_open", [False, True], ids=["its own mode", "let in on purpose"])
def test_another_user_is_kept_out_and_known_where_a_mode_lets_it_in(
    tmp_path: Path, is_open: bool
) -> None:
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    address = UnixAddress("socket", tmp_path)
    with address.listen() as listener:
        if is_open:
            (tmp_path / "socket").chmod(0o666)
        with subprocess.Popen(
            [sys.executable, "-IS", "-c", AS_NOBODY, str(tmp_path / "socket")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout is not None
            said = child.stdout.readline().strip()
            if not is_open:
                assert said == "Permission denied"
                return
            assert said == "connected"
            accepted, _ = listener.accept()
            with accepted:
                assert stranger(accepted) == {"pid": child.pid, "uid": OTHER_UID}
            child.communicate(timeout=TIMEOUT_S)
