"""A server on its socket: who can connect, what is planned to go wrong, and its end."""

import os
import socket
import stat
import threading

import pytest

from harness.history.device import Arc, ServerFault
from harness.scenario.devices import VfioUserDevice
from harness.scenario.vfio_user import ServerDoes
from harness.scenario.vfio_user import ServerFault as Planned
from harness.vfio import uapi
from harness.vfio.uapi import DeviceState, Feature
from harness.vfio_user.client import Client
from harness.vfio_user.connection import Connection
from harness.vfio_user.messages import Command, Flag, RegionInfo
from harness.vfio_user.server import Server

SPEC = VfioUserDevice(id="a", size=100, bar_size=4096)
SET_STATE = (
    uapi.FEATURE_HEADER.pack(16, Feature.MIG_DEVICE_STATE | uapi.FEATURE_SET)
    + uapi.MIG_STATE.pack(DeviceState.STOP_COPY, -1)
)  # fmt: skip


@pytest.fixture
def server():
    found = Server(SPEC, "source", lambda _args: None, sees_device=False)
    yield found
    found.close()


def test_socket_is_private_and_gone_once_one_has_connected(server):
    path = server.listen()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(path))
        client = Client("a", Connection(raw), 10)
        client.negotiate()
        assert not path.parent.exists()


def test_server_that_nobody_has_connected_to_leaves_nothing(server):
    path = server.listen()
    server.close()
    assert not path.parent.exists()
    server.close()


def test_end_of_a_server_ends_its_threads_and_descriptors(open_fds):
    before, threads = open_fds(), threading.active_count()
    server = Server(SPEC, "source", lambda _args: None, sees_device=False)
    client = Client("a", Connection(server.connect()), 10)
    client.negotiate()
    assert server.thread_id
    server.close()
    client.close()
    assert open_fds() == before
    assert threading.active_count() == threads
    assert server.failure is None


def test_memory_of_a_region_is_sent_as_a_descriptor(server):
    connection = Connection(server.connect())
    request = uapi.REGION_INFO.pack(32, 0, 0, 0, 0, 0)
    connection.send(1, Command.DEVICE_GET_REGION_INFO, request)
    reply = connection.receive()
    assert RegionInfo.parse(reply.payload).flags & uapi.REGION_MMAP
    (fd,) = reply.fds
    assert os.path.samestat(os.fstat(fd), os.fstat(server.regions.fd))
    reply.close_fds()
    connection.close()


def test_message_without_reply_gets_none(server):
    connection = Connection(server.connect())
    connection.send(1, Command.DEVICE_RESET, flags=Flag.NO_REPLY)
    connection.send(2, Command.DEVICE_RESET)
    assert connection.receive().header.number == 2
    connection.close()


def test_client_that_is_out_of_step_ends_the_connection_only(server):
    raw = server.connect()
    raw.sendall(bytes(16))
    assert raw.recv(1) == b""
    raw.close()
    server.close()
    assert server.failure is None


def test_plan_is_carried_out_once_and_recorded(pair):
    found = pair("source", {"command": "DEVICE_RESET", "does": "pad", "nth": 1})
    sizes = [len(found.client.ask(Command.DEVICE_RESET)) for _ in range(3)]
    assert sizes == [0, 64, 0]
    assert found.seen == [ServerFault(command="DEVICE_RESET", nth=1, does="pad")]


def test_plan_of_the_other_side_is_not_carried_out():
    fault = Planned(side="destination", command="DEVICE_RESET", does=ServerDoes.DIE)
    spec = VfioUserDevice(id="a", server_faults=(fault,))
    server = Server(spec, "source", lambda _args: None, sees_device=False)
    client = Client("a", Connection(server.connect()), 10)
    assert client.ask(Command.DEVICE_RESET) == b""
    client.close()
    server.close()


@pytest.mark.parametrize("sees_device", [False, True])
def test_what_the_device_does_is_recorded_by_one(pair, sees_device):
    found = pair(sees_device=sees_device)
    found.client.ask(Command.DEVICE_FEATURE, SET_STATE)
    assert [type(each) for each in found.seen] == [Arc] * sees_device
