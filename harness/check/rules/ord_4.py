"""ORD-4: The configuration comes last, is loaded once after the last data, and restores
the config space.

vfio_load_device_config_state_start and _end bracket its load on either path
(vfio_load_device_config_state() in hw/vfio/migration.c).  The trace does not show which
packet carries the flag.  That it is the last one follows from its index, which is above that of
every loaded buffer.  The load takes QEMU's big lock, so there is no limit on how soon it begins.

What is restored: the device's own command register, which QEMU writes back, and the registers
as read by the guest (QEMU saves its copy of the config space) when the source had stopped.
Values that were read before count only if nothing can have written to the registers since: no
guest, no reset, no action.  The device's scratch registers are part of its own state (ORD-1).  If
a fault changed the configuration on its way, nothing is required of them.

Of a device with MSI-X (``interrupts`` of the scenario), vectors that the guest has enabled are
armed again at the destination; an interrupt that the device has fired reaches the guest, on either
side; one that is masked stays pending, can be read as pending, and comes once it is unmasked.
"""

from collections.abc import Sequence
from typing import TypeVar

from harness.check import interrupts
from harness.check.assumptions import Assumption
from harness.check.evidence import CONFIG_END, CONFIG_START, LOAD_END, MAIN_DATA, PEERS, Evidence
from harness.check.rule import Rule, completed
from harness.check.verdict import Finding
from harness.history import wire
from harness.history.device import Config
from harness.history.records import Body, Kind, Record, Side
from harness.history.session import GuestConfig
from harness.scenario.action_plan import Execute, Storm

RULE = Rule(
    id="ORD-4",
    title="The configuration comes last, is loaded once, and restores the config space",
    skip_reason=completed,
    needs=(Assumption.COMPLETE, Assumption.LAUNCHED, Assumption.DESTINATION_TRACE),
)


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    compared, changed = 0, 0
    for device in evidence.scenario.devices:
        finding = _loaded(evidence, device.id) or _last(evidence, device.id)
        if finding is not None:
            return finding
        if _is_changed(evidence, device.id):
            changed += 1
            continue
        pairs = (
            []
            if _is_reset_after(evidence)
            else [*_command(evidence, device.id), *_guest(evidence, device.id)]
        )
        for what, shape, ours, theirs, source, destination in pairs:
            if ours != theirs:
                return RULE.violated(
                    f"{device.id}: {what} was {ours} at the source and is {theirs} at the "
                    "destination",
                    source,
                    destination,
                    shape=shape,
                )
        compared += bool(pairs)
    arrived, unseen = 0, ""
    for spec in evidence.scenario.emulated:
        if spec.interrupts.is_used and not (_is_reset_after(evidence) or changed):
            of_it = interrupts.found(evidence, spec)
            if (wrong := of_it.wrong) is not None:
                return RULE.violated(wrong.sentence, *wrong.records, shape=wrong.shape)
            arrived, unseen = arrived + of_it.arrived, unseen or of_it.why_unknown
    loads = sum(len(evidence.trace(Side.DESTINATION, CONFIG_END, d.id)) for d in evidence.devices)
    numbers = {"configurations_loaded": loads, "config_spaces_compared": compared}
    if arrived:
        numbers["interrupts_arrived"] = arrived
    if loads < len(evidence.scenario.devices):
        return RULE.unknown("not every configuration was loaded", **numbers)
    if compared + changed < len(evidence.scenario.devices):
        return RULE.unknown("not every config space was read on both sides", **numbers)
    if unseen:
        return RULE.unknown(unseen, **numbers)
    return RULE.valid(
        "each configuration was loaded once, last, and the config spaces agree", **numbers
    )


def _is_changed(evidence: Evidence, device: str) -> bool:
    """Whether another configuration was delivered than the source sent."""
    sent, delivered = (
        {record.args.digest for record in evidence.of(of, device=device) if record.args.marker}
        for of in (wire.PacketIn, wire.PacketOut)
    )
    return not delivered <= sent


def _loaded(evidence: Evidence, device: str) -> Finding | None:
    """Exactly one load of the configuration."""
    starts = evidence.trace(Side.DESTINATION, CONFIG_START, device)
    ends = evidence.trace(Side.DESTINATION, CONFIG_END, device)
    if len(starts) > 1 or len(ends) > 1:
        return RULE.violated(
            f"{device}: the configuration was loaded {max(len(starts), len(ends))} times",
            *starts[:2],
            *ends[:2],
            shape="configuration-loaded-twice",
        )
    if evidence.endings.is_completed and not (starts and ends):
        return RULE.violated(
            f"{device}: the destination completed, but the configuration was not loaded",
            *starts,
            evidence.endings.last_status(Side.DESTINATION),
            shape="configuration-not-loaded",
        )
    return None


def _last(evidence: Evidence, device: str) -> Finding | None:
    """No data after the configuration, neither in time nor in index."""
    starts = evidence.trace(Side.DESTINATION, CONFIG_START, device)
    is_begun = False
    for record in evidence.events(Kind.TRACE, Side.DESTINATION, device) if starts else ():
        if record.name == CONFIG_START:
            is_begun = True
        elif is_begun and record.name in (LOAD_END, MAIN_DATA):
            return RULE.violated(
                f"{device}: data was loaded after the configuration",
                starts[0],
                record,
                shape="data-after-configuration",
            )
    reception = evidence.reception(device)
    last = evidence.config_idx(device)
    if starts and device in evidence.multifd_devices and last in reception.starts:
        return RULE.violated(
            f"{device}: packet {last}, the last, was loaded as data, and the "
            "configuration came in no packet",
            reception.starts[last],
            starts[0],
            shape="configuration-loaded-as-data",
        )
    return None


B = TypeVar("B", bound=Body)
Pair = tuple[str, str, object, object, Record, Record]
"""What it is, the finding's shape where it differs, and what it was in which record."""


def _command(evidence: Evidence, device: str) -> list[Pair]:
    ours = _before_quit(evidence, evidence.of(Config, Side.SOURCE, device), Side.SOURCE)
    theirs = _before_quit(evidence, evidence.of(Config, Side.DESTINATION, device), Side.DESTINATION)
    ends = evidence.trace(Side.DESTINATION, CONFIG_END, device)
    if ours is None or theirs is None or not ends or theirs.t_ns < ends[-1].t_ns:
        return []
    what, shape = "the device's command register", "command-register-differs"
    return [(what, shape, ours.args.command, theirs.args.command, ours, theirs)]


def _guest(evidence: Evidence, device: str) -> list[Pair]:
    seen = [
        _before_quit(evidence, evidence.of(GuestConfig, side, device), side)
        for side in (Side.SOURCE, Side.DESTINATION)
    ]
    ours, theirs = seen
    if ours is None or theirs is None or _may_be_old(evidence, ours):
        return []
    before, after = ours.args.registers, theirs.args.registers
    return [
        (
            f"register {offset} as read by the guest",
            f"guest-register-{offset}-differs",
            before[offset],
            after[offset],
            ours,
            theirs,
        )
        for offset in before
        if offset in after
    ]


def _is_reset_after(evidence: Evidence) -> bool:
    """Whether a guest was reset after the source had stopped: the registers are not those of
    the migration any more.
    """
    stopped_ns = _stopped_ns(evidence)
    resets = [record for side in PEERS for record in evidence.qmp(side, "RESET")]
    return stopped_ns is not None and any(record.t_ns > stopped_ns for record in resets)


def _stopped_ns(evidence: Evidence) -> int | None:
    """When the source had stopped for good; None if there is no record of it."""
    stops = evidence.qmp(Side.SOURCE, "STOP")
    reported = evidence.endings.statuses[Side.SOURCE]
    ends = [record.t_ns for status, record in reported if status == "completed"]
    return stops[-1].t_ns if stops else next(iter(ends), None)


def _may_be_old(evidence: Evidence, ours: Record) -> bool:
    """Whether the registers may have been written after ``ours`` and before the source stopped."""
    stopped_ns = _stopped_ns(evidence)
    if stopped_ns is not None and stopped_ns <= ours.t_ns:
        return False
    resets = evidence.qmp(Side.SOURCE, "RESET")
    acted = any(isinstance(action, Execute | Storm) for action in evidence.scenario.actions)
    return bool(resets) or acted or evidence.scenario.guest is not None


def _before_quit(evidence: Evidence, records: Sequence[Record[B]], side: Side) -> Record[B] | None:
    """The last of ``records`` before the QEMU was asked to quit."""
    quit_ns = evidence.endings.quit_ns(side)
    fitting = [record for record in records if quit_ns is None or record.t_ns < quit_ns]
    return fitting[-1] if fitting else None
