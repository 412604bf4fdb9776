"""SET-6: Source and destination of different versions migrate, with a machine type that both know.

Both sides complete, and each device holds the source's bytes (if the scenario has
faults, ORD-1 derives which bytes it must hold).  It applies to a run whose
builds are of different versions and had the same versioned machine type: ``q35`` and
``pc`` mean another one in each version (hw/i386/pc_q35.c), and do not migrate.
"""

from collections.abc import Sequence

from harness.check import interruption
from harness.check.evidence import PEERS, Evidence
from harness.check.rule import Rule, completed
from harness.check.verdict import Finding
from harness.history.records import Record, Side

RULE = Rule(
    id="SET-6",
    title="Different versions migrate to each other, in both directions",
    skip_reason=completed,
)


@RULE.skips_run
def skip_reason_of(evidence: Evidence) -> str:
    source, destination = evidence.manifest.source, evidence.manifest.destination
    if source.version == destination.version:
        return "source and destination are of one version"
    if source.machine and destination.machine and source.machine != destination.machine:
        return f"the machine types differ: {source.machine} and {destination.machine}"
    return ""


@RULE.judges
def judge(evidence: Evidence) -> Finding:
    source, destination = evidence.manifest.source, evidence.manifest.destination
    numbers = {"source": _version(source.version), "destination": _version(destination.version)}
    pair = f"from {numbers['source']} to {numbers['destination']}"
    for side in PEERS:
        status, ended = evidence.endings.status(side), evidence.endings.crash(side)
        if status in ("failed", "cancelled") or (ended is not None and status != "completed"):
            reason, proof = _reason(evidence)
            return RULE.violated(
                f"the migration {pair} failed at the {side}{reason}",
                *proof,
                ended or evidence.endings.last_status(side),
                shape=f"{side}-failed",
                **numbers,
            )
    if any(evidence.endings.status(side) != "completed" for side in PEERS):
        return RULE.unknown(f"the migration {pair} did not come to an end", **numbers)
    if evidence.prediction is not None:
        return RULE.valid(f"the migration {pair} completed", **numbers)
    wrong = interruption.damaged(evidence)
    if wrong is not None:
        if not wrong[1]:
            return RULE.unknown(wrong[0], **numbers)
        return RULE.violated(
            f"after the migration {pair} {wrong[0]}", *wrong[1], shape="bytes-differ", **numbers
        )
    return RULE.valid(f"the migration {pair} completed, and the state is intact", **numbers)


def _version(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def _reason(evidence: Evidence) -> tuple[str, list[Record]]:
    """The first error about it: the destination's if it has one."""
    for side in (Side.DESTINATION, Side.SOURCE):
        for record, text in evidence.endings.texts(side):
            return f": {text}", [record]
    return "", []
