"""LIF-7: Repeated migrations there and back keep the state intact and leave nothing behind.

It applies to a migration whose source was the destination of the one before.  Both sides
complete, each device holds the source's bytes, each index comes in once, and the counter
of transferred bytes starts again at 0 (migrate_init() in migration/migration.c).
"""

from harness.check import hang, interruption, planned
from harness.check.assumptions import Assumption
from harness.check.evidence import Evidence
from harness.check.rule import Rule, completed
from harness.check.verdict import Finding
from harness.history.records import Event, Side

RULE = Rule(
    id="LIF-7",
    title="Repeated migrations there and back keep the state intact",
    skip_reason=completed,
    trusts=(Assumption.ENDINGS_KNOWN,),
)
_ROOM = 1 << 20
"""Bytes that headers and configurations of all packets stay below."""


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    if interruption.continued_after(evidence) == "completed":
        return ""
    return "no completed migration came before"


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    endings = evidence.endings
    if excuse := planned.excuse(evidence):
        return RULE.unknown(f"the migration after a completed one did not end: {excuse}")
    for side in (Side.SOURCE, Side.DESTINATION):
        if endings.status(side) != "completed":
            shape = hang.cause(evidence, endings.deadline) if endings.deadline else None
            return RULE.violated(
                "the migration after a completed one did not complete: the "
                f"{side}'s status is {endings.status(side) or 'not known'}"
                + (f"; {shape[0]}" if shape else ""),
                endings.last_status(side),
                endings.deadline,
                shape=shape.shape if shape else "did-not-complete",
            )
    wrong = interruption.damaged(evidence)
    if wrong is not None:
        if not wrong[1]:
            return RULE.unknown(wrong[0])
        return RULE.violated(
            f"after an earlier migration {wrong[0]}", *wrong[1], shape="bytes-differ"
        )
    for device in evidence.multifd_devices:
        repeated = evidence.reception(device).repeated
        if repeated:
            return RULE.violated(
                f"{device}: packet {repeated[0].args['idx']} came in twice",
                repeated[0],
                shape="packet-came-twice",
            )
    total = sum(device.total_bytes or 0 for device in evidence.expectation.devices)
    counted = _counted(evidence)
    if counted is not None:
        transferred = counted.args["value"]["vfio"]["transferred"]
        if transferred > total + _ROOM:
            return RULE.violated(
                f"vfio.transferred is {transferred} after {total} bytes of state: it includes "
                "an earlier migration",
                counted,
                shape="counter-not-reset",
            )
    return RULE.valid("the state is intact, and nothing is left of the migration before")


def _counted(evidence: Evidence) -> Event | None:
    answers = evidence.endings.commands(Side.SOURCE, "query-migrate", "return")
    answered = [record for record in answers if "vfio" in record.args["value"]]
    return answered[-1] if answered else None
