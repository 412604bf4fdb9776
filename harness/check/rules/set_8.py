"""SET-8: A device that cannot migrate blocks the migration with a reason, before anything
is sent; the source's VM runs on.

With enable-migration=on QEMU does not even start with such a device
(vfio_block_migration() in hw/vfio/migration.c); otherwise ``migrate`` is refused.  An error
that the model does not expect may be about something else: then this is UNKNOWN.

QEMU's own vfio-user client (``client: qemu``) is taken for one that cannot migrate until it asks
the server for its migration (the record ``abilities``): one that can is judged like vfio-pci.
"""

from harness.check import interruption, set_up
from harness.check.assumptions import Assumption
from harness.check.evidence import PEERS, Evidence
from harness.check.rule import Rule
from harness.check.transfer_path import was_anything_sent
from harness.check.verdict import Finding
from harness.history.records import Record, Side
from harness.model.expectation import Ending, Expectation
from harness.model.settings import TRANSFER
from harness.scenario import Scenario

RULE = Rule(
    id="SET-8",
    title="A device that cannot migrate blocks the migration with a reason",
    needs=(Assumption.COMPLETE,),
    trusts=(Assumption.ENDINGS_KNOWN,),
)
_UNDER_WAY = ("setup", "active", "device", "pre-switchover", "completed")


@RULE.skips
def skip_reason(_scenario: Scenario, expectation: Expectation) -> str:
    if expectation.ending in (Ending.BLOCKED, Ending.LAUNCH_REFUSED):
        is_lacking = TRANSFER in expectation.reasons
        return f"the build has no property {TRANSFER}" if is_lacking else ""
    return "all devices can migrate"


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    if evidence.expectation.ending is Ending.LAUNCH_REFUSED:
        return _not_launched(evidence)
    refusals = evidence.endings.refusals(Side.SOURCE, "migrate")
    begun = _begun(evidence)
    if begun is not None:
        return RULE.violated(
            f"a migration that must be blocked ({evidence.expectation.reason}) was begun",
            begun,
            *refusals[:1],
            evidence.endings.last_status(Side.DESTINATION) if not refusals else None,
            shape=_shape(evidence),
        )
    if not refusals:
        accepted = evidence.endings.commands(Side.SOURCE, "migrate", "return")
        if accepted:
            return RULE.violated(
                f"migrate was accepted, though it must be blocked ({evidence.expectation.reason})",
                accepted[0],
                shape="migrate-accepted",
            )
        return RULE.unknown("there is no record of an answer to migrate")
    said = str(refusals[0].args.get("desc", ""))
    if not said:
        return RULE.violated("migrate was refused without a reason", refusals[0], shape="no-reason")
    if not evidence.expectation.is_reason(said):
        return RULE.unknown(f'migrate was refused with an error about something else: "{said}"')
    stopped = _stopped(evidence, refusals[0])
    if stopped is not None:
        return RULE.violated(
            "migrate was refused, but the source's VM stopped", *stopped, shape="source-stopped"
        )
    if not evidence.endings.commands(Side.SOURCE, "query-status", "return"):
        return RULE.unknown("migrate was refused; whether the source runs on was not checked")
    return RULE.valid("migrate was refused with a reason, and nothing was sent", said=said)


def _shape(evidence: Evidence) -> str:
    """QEMU's vfio-user-pci has no migration at all: that is another bug than one of vfio-pci."""
    is_its_own = all(device.is_vfio_user_pci for device in evidence.scenario.devices)
    return "vfio-user-migration-begun" if is_its_own else "migration-begun"


def _not_launched(evidence: Evidence) -> Finding:
    reason, begun = evidence.expectation.reason, _begun(evidence)
    if begun is not None:
        return RULE.violated(
            f"QEMU must refuse to start with such a device ({reason}), but it migrated",
            begun,
            shape="migration-begun",
        )
    up = [evidence.endings.commands(side, "migrate-set-capabilities", "return") for side in PEERS]
    if all(up):
        return RULE.violated(
            f"QEMU must refuse to start with such a device ({reason}), but both sides started",
            *(answers[0] for answers in up),
            shape="started",
        )
    refused = [
        record for record in evidence.endings.exited.values() if record and record.args.status > 0
    ]
    if not refused:
        return RULE.unknown("there is no record of a QEMU that refused to start")
    if (said := set_up.reason(evidence)) is not None:
        return RULE.valid("QEMU refused to start, with a reason", said=said[1])
    others = [text for _, text in evidence.endings.texts(None) if text]
    if not others:
        return RULE.violated(
            "QEMU refused to start, but named no reason", *refused, shape="no-reason"
        )
    return RULE.unknown(
        f'QEMU refused to start, with an error about something else: "{others[-1]}"'
    )


def _begun(evidence: Evidence) -> Record | None:
    """Something that only a migration under way does."""
    for side in PEERS:
        for status, record in evidence.endings.statuses[side]:
            if side is Side.SOURCE and status in _UNDER_WAY:
                return record
    sent = (was_anything_sent(evidence, device.id) for device in evidence.scenario.devices)
    return next((record for record in sent if record is not None), None)


def _stopped(evidence: Evidence, refused: Record) -> tuple[Record, Record] | None:
    """The source's VM stopped after the refusal, and before the harness asked it to quit.

    One that the scenario has paused was stopped all the time.
    """
    if interruption.is_paused(evidence):
        return None
    for record in evidence.endings.commands(Side.SOURCE, "query-status", "return"):
        if record.t_ns > refused.t_ns and not record.args["value"].get("running", True):
            return refused, record
    return None
