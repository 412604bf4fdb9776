"""Servers, and clients of them, that are gone at the end."""

import os
import socket

import pytest

from harness.scenario.devices import VfioUserDevice
from harness.scenario.vfio_user import ServerDoes, ServerFault
from harness.vfio_user.client import Client
from harness.vfio_user.connection import Connection
from harness.vfio_user.server import Server

LIMIT_S = 10.0


def _planned(side, does, **fault):
    return ServerFault(side=side, does=ServerDoes(does), **fault)


class Pair:
    """A server of a small device, and its client."""

    def __init__(self, side="source", *faults, limit_s=LIMIT_S, sees_device=False, **settings):
        self.seen = []
        self.spec = VfioUserDevice(
            **{"id": "a", "size": 10_000, "bar_size": 4096, **settings},
            server_faults=tuple(_planned(side, **fault) for fault in faults),
        )
        self.server = Server(self.spec, side, self.seen.append, sees_device=sees_device)
        self.client = Client("a", Connection(self.server.connect()), limit_s)

    def close(self):
        self.client.close()
        self.server.close()


@pytest.fixture
def pair():
    """Makes pairs."""
    made = []

    def make(*args, **settings):
        made.append(Pair(*args, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def open_fds():
    """Makes the set of our open descriptors."""
    return lambda: set(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.fixture
def ends():
    """Two ends of a connection."""
    found = [Connection(end) for end in socket.socketpair()]
    yield found
    for end in found:
        end.close()
