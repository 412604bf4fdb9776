"""LIF-12: No device is unplugged or plugged while a migration runs: refused with a reason, or done
before.

It applies if an action of the scenario is ``device_del`` of one of its devices, or ``device_add``
of any other.  Of a source that migrates QEMU refuses both (qdev_unplug() and
qdev_device_add_from_qdict() in system/qdev-monitor.c): a device that comes then has no part in the
stream.  A destination that loads must do the same, since it is to become what the source is.

A request to unplug that QEMU has taken before the migration is done when the guest agrees: if that
comes while the source migrates, the device's state never arrives.  QEMU reports each device that is
gone by the event DEVICE_DELETED.

This could be wrong in both ways.  The status may change while a command is on its way: a request
that was accepted is VIOLATED only if the source reported another status of a migration under way
after its answer.  A destination changes its status in the thread that takes commands, so that its
answers are in order.  And a request before or after the migration shows nothing about it: if there
was no other, this is UNKNOWN.  A device with ``failover_pair_id`` is to be unplugged.
"""

from collections.abc import Iterator

from harness.check import interruption
from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.rule import Rule
from harness.check.verdict import Finding
from harness.history import session
from harness.history.records import Event, Record, Side
from harness.scenario.action_plan import Action, Execute

RULE = Rule(
    id="LIF-12",
    title="No device is unplugged or plugged while a migration runs",
    trusts=(Assumption.ENDINGS_KNOWN,),
    stands_alone=True,
)
_PLUG = "device_add"
_MIGRATES = ("setup", "active", "pre-switchover", "device")
_UNDER_WAY = (*_MIGRATES, "cancelling")
"""Statuses of a source's migration that has no end yet."""


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    if any(_is_request(evidence, action) for action in evidence.scenario.actions) or _deleted(
        evidence
    ):
        return ""
    return "no device was to be unplugged or plugged"


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    for record in _deleted(evidence):
        if (at := _under_way_at(evidence, record)) in _MIGRATES:
            return RULE.violated(
                f"{record.args['device']} was unplugged from the source in the status {at}",
                record,
                shape="unplugged-while-migrating",
            )
    refused = []
    for action, begun, ended in _requests(evidence):
        side, how = Side(action.target), ended.args.how
        at = interruption.status_at(evidence, side, begun.t_ns)
        if how == "refused" and at in _UNDER_WAY and ended.args.desc:
            refused.append(f"in the status {at} by the {side}: {ended.args.desc}")
        if how != "done":
            continue
        if side is Side.SOURCE and at in _MIGRATES and _under_way_at(evidence, ended) in _MIGRATES:
            return RULE.violated(
                f"the source accepted {action.command} in the status {at}",
                begun,
                ended,
                shape=_shape(action, "accepted-while-migrating"),
            )
        still = interruption.status_at(evidence, side, ended.t_ns)
        if side is Side.DESTINATION and at == still == "active":
            return RULE.violated(
                f"the destination accepted {action.command} while it loads",
                begun,
                ended,
                shape=_shape(action, "accepted-while-loading"),
            )
    if not refused:
        return RULE.unknown("no device was to be unplugged or plugged while a migration ran")
    return RULE.valid(f"refused {'; '.join(refused)}", refused=len(refused))


def _is_request(evidence: Evidence, action: Action) -> bool:
    if not isinstance(action, Execute):
        return False
    is_ours = str(action.arguments.get("id", "")) in _devices(evidence)
    return action.command == _PLUG or (action.command == "device_del" and is_ours)


def _shape(action: Execute, what: str) -> str:
    return f"plug-{what}" if action.command == _PLUG else what


def _requests(
    evidence: Evidence,
) -> Iterator[tuple[Execute, Record[session.Action], Record[session.ActionEnded]]]:
    """Each request with the records of its beginning and its answer."""
    answers = {record.args.position: record for record in evidence.of(session.ActionEnded)}
    for begun in evidence.of(session.Action):
        action = evidence.scenario.actions[begun.args.position]
        ended = answers.get(begun.args.position)
        if isinstance(action, Execute) and _is_request(evidence, action) and ended is not None:
            yield action, begun, ended


def _devices(evidence: Evidence) -> list[str]:
    return [device.id for device in evidence.devices if "failover_pair_id" not in device.properties]


def _deleted(evidence: Evidence) -> list[Event]:
    """The source's events of devices that are gone."""
    known = _devices(evidence)
    return [
        record
        for record in evidence.qmp(Side.SOURCE, "DEVICE_DELETED")
        if record.args.get("device") in known
    ]


def _under_way_at(evidence: Evidence, record: Record) -> str:
    """The status of the source's migration by then, if it certainly was under way: it reported
    another such status later; else "".
    """
    later = [
        status
        for status, told in evidence.endings.statuses[Side.SOURCE]
        if told.t_ns > record.t_ns and told.name == "MIGRATION"
    ]
    if not later or later[0] not in _UNDER_WAY:
        return ""
    return interruption.status_at(evidence, Side.SOURCE, record.t_ns)
