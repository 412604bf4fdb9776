"""STA-2: VFIO_MIGRATION events follow the device's state machine.

QEMU sends one event (qapi/vfio.json, from 9.1) whenever it has set a device's state, or
has reset the device because that failed (vfio_migration_set_state() in
hw/vfio/migration.c).  So the events of a side's device are the changes that the device
itself has recorded as done, in order, and each is a transition of the state machine
(``model.device_states``).

The harness cannot see into a kernel's device: there the changes are those in QEMU's trace,
and the state machine is that of the device's abilities.

QEMU 11.1 announces PRE_COPY_P2P before it sets it (``pre-copy-p2p-prepare``); the next
event must then be that state's.

Before the capabilities of the monitor have been negotiated, QEMU cannot send events: changes from
before the first command may be reported or not.  The last events may still be on their way when
the monitor is closed.  An event is missing for certain once a later one came, or once a command
that was sent after the change was answered.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import cast

from harness.check import serial_ports
from harness.check.assumptions import Assumption, check
from harness.check.evidence import PEERS, Evidence
from harness.check.rule import Rule, completed
from harness.check.verdict import Finding
from harness.history.device import Arc, Reset
from harness.history.records import Event, Kind, Record, Side
from harness.model.device_states import DeviceState, is_legal
from harness.scenario import Device

RULE = Rule(
    id="STA-2",
    title="VFIO_MIGRATION events follow the device's state machine",
    skip_reason=completed,
)
EVENT = "VFIO_MIGRATION"
FIRST = (9, 1, 0)
ANNOUNCED = "-prepare"
_TRACES = {
    Side.SOURCE: Assumption.SOURCE_TRACE,
    Side.DESTINATION: Assumption.DESTINATION_TRACE,
}
SET = "vfio_migration_set_device_state"
"""Trace event of hw/vfio/trace-events, when the kernel has done it."""


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    events: dict[str, int] = {}
    broken = check(evidence)
    for side in PEERS:
        facts = evidence.manifest.source if side is Side.SOURCE else evidence.manifest.destination
        if facts.version < FIRST:
            return RULE.unknown(f"the {side} QEMU has no {EVENT} events: {facts.version_text}")
        for device in evidence.scenario.devices:
            if not serial_ports.is_open(evidence, device.id) and (
                reason := broken.get(_TRACES[side])
            ):
                return RULE.unknown(f"{device.id}: {reason}")
            finding, count = _side(evidence, side, device)
            if finding is not None:
                return finding
            if not count:
                return RULE.unknown(f"no change of {device.id}'s state was seen at the {side}")
            events[f"{device.id} {side}"] = count
    return RULE.valid("each change of state was reported, and each is legal", events=events)


def _side(evidence: Evidence, side: Side, device: Device) -> tuple[Finding | None, int]:
    """One device at one side; how many events there were."""
    events = []
    announced: Event | None = None
    for event in evidence.qmp(side, EVENT, device.id):
        name = str(event.args["device-state"])
        if announced is not None and announced.args["device-state"] != name + ANNOUNCED:
            return _wrong(
                f"{name} was reported after another state was announced",
                "event-not-as-announced",
                announced,
                event,
            )
        announced = event if name.endswith(ANNOUNCED) else None
        if announced is None:
            events.append(event)
    can = evidence.expectation.device(device.id).abilities
    changes, state = _untold(evidence, side, events, _changes(evidence, side, device.id))
    for event, change in zip(events, changes, strict=False):
        asked = _state(event.args["device-state"])
        seen = _became(change)
        if isinstance(change.args, Reset):
            state = seen
        if asked is not seen:
            return _wrong(
                f"the event says {asked}, the device was set to {seen}",
                "event-of-another-state",
                event,
                change,
            )
        if not is_legal(state, asked, p2p=can.p2p, pre_copy=can.pre_copy):
            return _wrong(
                f"from {state} to {asked} is no legal change", "illegal-change", event, change
            )
        state = asked
    if len(events) > len(changes):
        return _wrong(
            f"the event says {events[len(changes)].args['device-state']}, but the device's "
            "state was not changed",
            "event-without-change",
            events[len(changes)],
            *changes[-1:],
        )
    if len(events) < len(changes):
        missed = changes[len(events)]
        answered = _answered_after(evidence, side, missed)
        if answered is not None:
            is_reset = isinstance(missed.args, Reset)
            what = "RUNNING by a reset" if is_reset else _reached(missed)
            return _wrong(
                f"no event reported that the state became {what}",
                "change-without-event",
                missed,
                answered,
            )
    return None, len(events)


def _untold(
    evidence: Evidence, side: Side, events: Sequence[Event], changes: list[Record]
) -> tuple[list[Record], DeviceState]:
    """``changes`` without those from before the first command that fit no event; the state
    before what is left."""
    first = next((r.t_ns for r in evidence.events(Kind.QMP, side) if r.name == "execute"), 0)
    early = sum(change.t_ns < first for change in changes)

    def agreeing(skipped: int) -> int:
        pairs = zip(events, changes[skipped:], strict=False)
        agrees = (_state(e.args["device-state"]) is _became(c) for e, c in pairs)
        return sum(1 for _ in takewhile(bool, agrees))

    skipped = max(range(early, -1, -1), key=agreeing)
    state = _became(changes[skipped - 1]) if skipped else DeviceState.RUNNING
    return changes[skipped:], state


def _changes(evidence: Evidence, side: Side, device: str) -> list[Record]:
    """Changes that were done, with the resets that QEMU makes of failed ones."""
    if not serial_ports.is_open(evidence, device):
        return list(evidence.trace(side, SET, device))
    changes, has_failed = list[Record](), False
    for record in evidence.sequence(Kind.DEVICE, side, device):
        match record.args:
            case Arc(errno=errno):
                has_failed = errno != 0
                if not has_failed:
                    changes.append(record)
            case Reset() if has_failed:
                changes.append(record)
                has_failed = False
    return changes


def _became(change: Record) -> DeviceState:
    """The state that ``change`` led to."""
    return DeviceState.RUNNING if isinstance(change.args, Reset) else _state(_reached(change))


def _reached(change: Record) -> str:
    """The name of the state, by the device or by the trace."""
    args = change.args
    return args.state if isinstance(args, Arc) else str(cast("Event", change).args["state"])


def _state(name: str) -> DeviceState:
    """The state, from ``stop-copy`` as from ``STOP_COPY``."""
    return DeviceState(name.upper().replace("-", "_"))


def _wrong(sentence: str, shape: str, *evidence: Record) -> tuple[Finding, int]:
    record = evidence[0]
    where = f"{record.device} at the {record.side}"
    return RULE.violated(f"{where}: {sentence}", *evidence, shape=shape), 0


def _answered_after(evidence: Evidence, side: Side, change: Record) -> Record | None:
    """The answer to a command that was given after ``change``."""
    given = set()
    for record in evidence.events(Kind.QMP, side):
        if record.name == "execute" and record.t_ns > change.t_ns:
            given.add(record.args["command"])
        elif record.name in ("return", "error") and record.args["command"] in given:
            return record
    return None
