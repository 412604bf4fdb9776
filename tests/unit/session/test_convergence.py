"""Migrations that are called off because their source goes on with pre-copy."""

from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import QmpTimeout
from harness.history import Kind, Record, Side
from harness.session import convergence
from harness.session.log import Log
from harness.vm.activity import Activity


class Monitor:
    """Answers query-migrate with one of ``answers`` after the other, the last again and again."""

    def __init__(self, peer, *answers, ends=True):
        self.peer = peer
        self.answers = list(answers)
        self.ends = ends
        self.asked = []

    async def execute(self, command, arguments=None):
        self.asked.append(command)
        if command == "migrate_cancel" and self.ends:
            self.peer.end = "cancelled"
        if command != "query-migrate":
            return {}
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Peer:
    def __init__(self, side, *answers, status="active", **more):
        self.side = side
        self.end = None
        self.events = [Record(1, side, Kind.QMP, "MIGRATION", {"status": status})]
        self.hung = []
        self.vm = SimpleNamespace(
            is_running=True, monitor=Monitor(self, *answers, **more), record_hang=self.hang
        )

    async def hang(self, waiting_for):
        self.hung.append(waiting_for)


def told(transferred, status="active", count=1):
    return {"status": status, "ram": {"transferred": transferred, "dirty-sync-count": count}}


GOES_ON = told(1), told(2)


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(convergence, "_EVERY_S", 0.001)
    monkeypatch.setattr(convergence, "_LOOK_S", 60.0)
    monkeypatch.setattr(convergence, "_END_S", 0.05)


async def called_off(source, *others):
    log = Log()
    for peer in others:
        peer.end = "failed"
    is_off = await convergence.call_off((source, *others), Activity(), log, 6.0)
    assert [record.name for record in log.records] == ["not_converged"] * is_off
    return is_off


@pytest.mark.parametrize(
    "later", [told(2), told(1, count=2), {**told(1), "vfio": {"transferred": 9}}]
)
async def test_source_that_goes_on_is_called_off(later):
    source = Peer(Side.SOURCE, told(1), told(1), later)
    assert await called_off(source, Peer(Side.DESTINATION, {}))
    assert source.vm.monitor.asked[-2:] == ["query-status", "migrate_cancel"]
    assert not source.hung


@pytest.mark.parametrize(
    "source",
    [
        Peer(Side.SOURCE, told(1)),
        Peer(Side.SOURCE, *GOES_ON, status="device"),
        Peer(Side.SOURCE, told(1), told(1, status="device")),
        Peer(Side.SOURCE, QmpTimeout("query-migrate")),
    ],
    ids=["no progress", "switched over", "switches over", "no answer"],
)
async def test_source_that_does_not_go_on_is_left_alone(source, monkeypatch):
    monkeypatch.setattr(convergence, "_LOOK_S", 0.05)
    assert not await called_off(source, Peer(Side.DESTINATION, {}))
    assert "migrate_cancel" not in source.vm.monitor.asked


async def test_source_that_is_gone_is_left_alone():
    source = Peer(Side.SOURCE, *GOES_ON)
    source.vm.is_running = False
    assert not await called_off(source)
    assert not source.vm.monitor.asked


async def test_destination_alone_goes_on_with_nothing():
    assert not await called_off(Peer(Side.DESTINATION, *GOES_ON))


async def test_source_that_does_not_end_then_hangs():
    source = Peer(Side.SOURCE, *GOES_ON, ends=False)
    assert await called_off(source, Peer(Side.DESTINATION, {}))
    assert source.hung == ["the end after migrate_cancel"]


async def test_destination_that_does_not_end_then_is_not_waited_for():
    source: Any = Peer(Side.SOURCE, *GOES_ON)
    destination: Any = Peer(Side.DESTINATION, {})
    log = Log()
    assert await convergence.call_off((source, destination), Activity(), log, 6.0)
    assert not destination.hung
