"""SYNTHETIC histories with a relay on the way, with or without faults.

``with_relay`` adds what a relay sees to a run that completes; ``Relayed`` writes a run in
which a fault changed what the destination was given.  What is delivered and how it ends is
told by the caller, not computed.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from harness.check.evidence import INCOMING, STARVED, THREAD_START
from harness.check.prediction_input import LIMIT
from harness.history.process import Hung, Memory, Stderr
from harness.history.records import Body, Record
from harness.history.rundir import History
from harness.history.session import Deadline, Faults
from harness.history.wire import Fault, PacketIn, PacketOut
from harness.scenario import MIB, EmulatedDevice, OnOffAuto, Scenario, fault_plan
from tests.twins.damage import pick
from tests.unit.check.story import CONFIG_BLOB, DST, SRC, US, Story, device, history, scenario

MARKER = "ffffffffef100002"
RELAY = "harness"


def packet(idx: int | None, size: int = MIB, **more: Any) -> dict[str, Any]:
    """Arguments of a data packet's records."""
    data = {"idx": idx, "state_flags": 0, "instance_id": 0, "size": size, "digest": f"{idx}"}
    return {**data, **more}


def config(idx: int, **more: Any) -> dict[str, Any]:
    """Arguments of a configuration packet's records."""
    usual = {"size": CONFIG_BLOB, "state_flags": 1, "marker": MARKER, "digest": "c"}
    return packet(idx, **{**usual, **more})


def with_relay(run: History) -> History:
    """``run`` with a relay that changes nothing."""
    records, left = list(run.records), {d.id: d.total_size for d in run.scenario.devices}
    incoming = pick(run.records, INCOMING)
    last = {record.device: 0 for record in incoming}
    for record in incoming:
        last[record.device] = max(last[record.device], record.args["idx"])
    for record in incoming:
        idx, of = record.args["idx"], record.device
        size = min(MIB, left[of] - idx * MIB)
        args = config(idx) if idx == last[of] else packet(idx, size)
        for body, early in ((PacketIn(**args), 20), (PacketOut(**args), 10)):
            records.append(Record.of(record.t_ns - early * US, SRC, body, of, record.channel))
    return history(run.scenario, records)


class Relayed(Story):
    """Writes a run whose packets a fault changed.

    The plan's only fault stands for any: what it did is told record by record.
    """

    def __init__(self, scenario: Scenario) -> None:
        super().__init__()
        scenario = msgspec.structs.replace(scenario, faults=(fault_plan.Drop(),))
        self.scenario = scenario
        self.boot(scenario)
        self.qmp(DST, "migrate-incoming")
        self.qmp(SRC, "migrate")
        self.status(SRC, "setup", "active")
        self.status(DST, "setup", "active")

    def wire(self, args: Body, channel: int = -1, of: str = "") -> Record:
        """Something that the relay saw."""
        return self.put(SRC, args, of, channel=channel)

    def send(self, count: int = 4, of: str = "vfio0") -> None:
        """The source sends so many data packets and the configuration."""
        for idx in range(count):
            self.wire(PacketIn(**packet(idx)), idx % 2, of)
        self.wire(PacketIn(**config(count)), count % 2, of)

    def fault(self, kind: str, channel: int = 0, **args: Any) -> Record:
        """A fault of the plan did something."""
        fault = Fault(**{"fault": kind, "position": 0, "what": "", **args})
        return self.wire(fault, channel, "vfio0")

    def deliver(self, *packets: dict[str, Any], of: str = "vfio0", channel: int = 0) -> None:
        """Packets reach the destination, on one channel, and nobody has read them yet."""
        for args in packets:
            self.wire(PacketOut(**args), channel, of)

    def read(self, *indices: int, of: str = "vfio0", channel: int = 0) -> None:
        """The destination tells that packets came in."""
        for idx in indices:
            self.trace(DST, INCOMING, of, idx=idx, channel=channel, tid=200 + channel)

    def starve(self, idx: int, of: str = "vfio0") -> Record:
        """The load thread waits for ``idx``."""
        self.trace(DST, THREAD_START, of, tid=300)
        return self.trace(DST, STARVED, of, idx=idx, tid=300)

    def refused(self, text: str) -> History:
        """The destination fails with ``text``, and the source learns of it."""
        self.put(DST, Memory(hwm_kib=200_000))
        self.status(DST, "failed")
        self.status(SRC, "failed")
        self.put(DST, Stderr(line=f"qemu: {text}"))
        self.qmp(DST, "query-migrate", {"status": "failed", "error-desc": text})
        self.qmp(SRC, "query-migrate", {"status": "failed"})
        self.fired(1)
        self.end("inmigrate")
        return self.history()

    def waits(self, **alive: bool) -> History:
        """The deadline passes; both QEMUs are asked whether they are alive."""
        self.at += 15 * 10**9
        gave_up = Deadline(waiting_for="the end of destination", deadline_s=15.0)
        self.put(RELAY, gave_up)
        answers = {"main_loop_alive": True, "monitor_alive": True}
        for side in (SRC, DST):
            told = {**answers, **(alive if side is DST else {})}
            self.put(side, Hung(waiting_for="the end", backtrace="", **told))
        self.fired(1)
        self.end("inmigrate")
        return self.history()

    def completed(self) -> History:
        """Both sides say so; no more than that is told."""
        self.status(SRC, "completed")
        self.status(DST, "completed")
        self.fired(1)
        self.end()
        return self.history()

    def fired(self, *counts: int) -> None:
        self.put(RELAY, Faults(fired=list(counts)))

    def history(self) -> History:
        return history(self.scenario, self.records)


def whole(*changed: dict[str, Any], count: int = 4) -> list[dict[str, Any]]:
    """The packets of ``Relayed.send``, those of ``changed`` instead of theirs."""
    packets = {idx: packet(idx) for idx in range(count)} | {count: config(count)}
    return list((packets | {args["idx"]: args for args in changed}).values())


def refused(
    packets: Iterable[dict[str, Any]], text: str, *devices: EmulatedDevice, kind: str = "rewrite"
) -> History:
    """All ``packets`` go to the destination on channel 0, which then refuses them."""
    story = Relayed(scenario(*devices))
    story.send()
    story.fault(kind)
    story.deliver(*packets)
    return story.refused(text)


def for_the_main_channel() -> History:
    story = Relayed(scenario(device(), device("vfio1", seed=2, multifd_transfer=OnOffAuto.OFF)))
    story.send()
    story.fault("inject")
    story.deliver(packet(0), of="vfio1")
    story.deliver(*whole())
    return story.refused("vfio1: got device state packet but not doing multifd transfer")


def unknown_idstr() -> History:
    story = Relayed(scenario())
    story.send()
    story.fault("rewrite")
    story.deliver(packet(0, idstr=b"nobody".hex()), of="")
    story.deliver(*whole()[1:])
    return story.refused("Unknown idstr nobody or instance id 0 for load state buffer")


def over_the_limit() -> History:
    story = Relayed(scenario(device(properties={LIMIT: 2 * MIB})))
    story.send()
    story.fault("hold", idx=0)
    story.deliver(*whole()[1:])
    return story.refused("vfio0: queuing state buffer 3 would exceed the size max of 2097152")


def missing_packet(**alive: bool) -> History:
    story = Relayed(scenario())
    story.send()
    story.fault("drop", idx=2)
    story.deliver(*[args for args in whole() if args["idx"] != 2])
    story.read(0, 1, 3, 4)
    story.starve(2)
    return story.waits(**alive)


def closed_channel() -> History:
    story = Relayed(scenario())
    story.send()
    story.deliver(*whole()[:2])
    story.fault("close_channel")
    return story.refused("multifd: channel 0 closed")


FILLED = "vfio0: state buffer 3 already filled"
RELAYED: dict[str, Callable[[], History]] = {
    "duplicate": lambda: refused([*whole()[:4], *whole()[3:]], FILLED, kind="duplicate"),
    "foreign device": for_the_main_channel,
    "short packet": lambda: refused(
        [*whole()[:3], packet(None, 5)], "vfio0: packet too short at 5 (min is 12)"
    ),
    "version": lambda: refused(
        whole(packet(2, state_version=7)), "vfio0: packet has unknown version 7"
    ),
    "invalid index": lambda: refused(
        [*whole()[:3], packet(0xFFFFFFFF)], "vfio0: packet index is invalid"
    ),
    "far index": lambda: refused(
        [*whole()[:3], packet(1_000_000), *whole()[4:]], "vfio0: index 1000000 is beyond reason"
    ),
    "two configurations": lambda: refused(
        [*whole(config(2))[:2], *whole()[3:], config(2)], "vfio0: packet 2 is below queued data"
    ),
    "config marker": lambda: refused(
        whole(config(4, marker="00" * 8)), "vfio0: expected FLAG_DEV_CONFIG_STATE but got 0"
    ),
    "unknown idstr": unknown_idstr,
    "magic": lambda: refused(
        whole(packet(2, magic=7)), "multifd: received packet magic 7, expected 11223344"
    ),
    "over the limit": over_the_limit,
    "missing packet": missing_packet,
    "closed channel": closed_channel,
}
"""Runs with faults that keep the requirements."""
