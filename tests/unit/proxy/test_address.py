"""Where relays listen and connect."""

import errno
import secrets
import select
import socket

import pytest

from harness.errors import UsageError
from harness.proxy.address import Address, TcpAddress, UnixAddress, from_qmp, tune
from tests.unit.proxy.streams import TIMEOUT_S


def _address(kind: str) -> Address:
    return UnixAddress(f"test-{secrets.token_hex(8)}") if kind == "unix" else TcpAddress()


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_what_listens_can_be_connected_to(kind: str) -> None:
    with _address(kind).listen() as listener:
        address = _address(kind).bound(listener) if kind == "tcp" else None
        address = address or UnixAddress(listener.getsockname()[1:].decode())
        assert from_qmp(address.qmp()) == address
        with address.make_socket() as sock:
            tune(sock)
            address.connect(sock)
            assert select.select([listener], [], [], TIMEOUT_S)[0]
            accepted, _ = listener.accept()
            accepted.close()


def test_unix_listener_that_is_full_says_again() -> None:
    name = f"test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen(0)
        errors = []
        socks = []
        for _ in range(3):
            socks.append(UnixAddress(name).make_socket())
            tune(socks[-1])
            errors.append(UnixAddress(name).connect(socks[-1]))
        for sock in socks:
            sock.close()
    assert errors[0] == 0
    assert errors[-1] == socket.EAGAIN if hasattr(socket, "EAGAIN") else errors[-1] == 11


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_queue_has_room_for_one_more_than_the_backlog(kind: str) -> None:
    with _address(kind).listen(0) as listener, listener.dup() as asked:
        onward = (
            UnixAddress(asked.getsockname()[1:].decode())
            if kind == "unix"
            else TcpAddress().bound(listener)
        )
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
        {"type": "unix", "path": "/tmp/x"},
        {"transport": "exec", "args": ["cat"]},
        {"type": "vsock", "cid": "1", "port": "2"},
    ],
)
def test_other_kinds_are_refused(addr: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="no relay can connect"):
        from_qmp(addr)
